//! The wire form of a connection: which bytes a message becomes.

use bytes::Bytes;

use super::{
    batch,
    websocket::{self, deflate::CompressParams},
};
use crate::{
    close::CloseCode,
    message::{Frame, Key},
    metrics::Counters,
};

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
    WebSocket(Option<CompressParams>),
    /// The body of an HTTP response: messages as they are, and nothing else.
    Body,
}

impl Wire {
    /// The bytes of a message, compressed where that was agreed on and pays.
    ///
    /// Senders call [`encoded::encode`](super::encoded::encode), which calls this once for the same bytes.
    pub(super) fn encode_anew(self, frame: &Frame, counters: &Counters) -> Bytes {
        match self {
            Self::Fallback => batch::encode(frame),
            Self::WebSocket(deflate) => deflate
                .and_then(|deflate| deflate.encode(frame, counters))
                .unwrap_or_else(|| websocket::encode::encode(frame)),
            Self::Body => self.encode_plain(frame),
        }
    }

    /// The bytes of a message as it is, which every client on this wire takes too.
    pub(crate) fn encode_plain(self, frame: &Frame) -> Bytes {
        match self {
            Self::Fallback => batch::encode(frame),
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
            Self::Fallback => batch::encode_close(code, reason),
            Self::WebSocket(_) => websocket::encode::close(code, reason),
            Self::Body => Bytes::new(),
        }
    }
}

/// An encoded frame, and the key that it had.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Bytes,
    pub(crate) key: Option<Key>,
}

impl From<Bytes> for Packet {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, key: None }
    }
}
