//! The wires that consumers are reached by. Nothing above this module knows which one it is on.

pub(crate) mod fallback;
pub(crate) mod limits;
pub(crate) mod rate;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod websocket;

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;

use self::websocket::deflate::Outgoing;
use crate::{Frame, close::CloseCode, consumer::connection::Connection, metrics::Counters};

/// How a client is reached: [`Context::transport`](crate::Context::transport).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A stream of server-sent events; the client posts what it says.
    EventStream,
    /// Requests that are held until something is due.
    LongPolling,
    /// Requests that are answered at once.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The wire form of a connection: members on the same one share their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Fragments of JSON, for batches.
    Fallback,
    /// Unmasked RFC 6455 frames, with messages compressed as it says.
    WebSocket(Option<Outgoing>),
    /// The body of an HTTP response: messages as they are, and nothing else.
    Body,
}

impl Wire {
    /// The bytes of a message, compressed where that was agreed on and pays.
    pub(crate) fn encode(self, frame: &Frame, counters: &Counters) -> Bytes {
        shared::encode(self, frame, counters)
    }

    fn encode_anew(self, frame: &Frame, counters: &Counters) -> Bytes {
        match self {
            Self::Fallback => fallback::batch::encode(frame),
            Self::WebSocket(deflate) => deflate
                .and_then(|deflate| deflate.encode(frame, counters))
                .unwrap_or_else(|| websocket::encode::encode(frame)),
            Self::Body => self.encode_plain(frame),
        }
    }

    /// The bytes of a message as it is, which every client on this wire takes too.
    pub(crate) fn encode_plain(self, frame: &Frame) -> Bytes {
        match self {
            Self::Fallback => fallback::batch::encode(frame),
            Self::WebSocket(_) => websocket::encode::encode(frame),
            Self::Body => frame.message().payload(),
        }
    }

    /// A ping. Its payload is empty: whatever the client sends after it shows that it is there.
    pub(crate) fn encode_ping(self) -> Bytes {
        match self {
            // It has none: that requests come shows that the client is there.
            Self::Fallback => Bytes::new(),
            Self::WebSocket(_) => Bytes::from_static(websocket::encode::PING),
            Self::Body => Bytes::new(),
        }
    }

    pub(crate) fn encode_pong(self, payload: &[u8]) -> Bytes {
        match self {
            Self::Fallback => Bytes::new(),
            Self::WebSocket(_) => websocket::encode::pong(payload),
            Self::Body => Bytes::new(),
        }
    }

    /// A close frame; for a code that cannot be sent, as the answer to one without a code, an empty one.
    pub(crate) fn encode_close(self, code: CloseCode, reason: &str) -> Bytes {
        match self {
            Self::Fallback => fallback::batch::encode_close(code, reason),
            Self::WebSocket(_) => websocket::encode::close(code, reason),
            Self::Body => Bytes::new(),
        }
    }
}

/// The input side of a transport: reads the client's messages into the connection.
///
/// Polled by the connection's driver, before and after its hooks; it must not call user code.
pub(crate) trait Input {
    /// Reads as far as the connection takes more. `Ready`: nothing more will be read.
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()>;

    /// How many bytes of an unfinished message have arrived.
    fn held(&self) -> usize;
}
