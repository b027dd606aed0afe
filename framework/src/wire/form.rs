//! The wire form of a connection: how its messages become bytes.

use bytes::Bytes;

use super::{
    batch,
    websocket::{self, deflate::CompressParams},
};
use crate::{
    close::CloseCode,
    message::{ConflationKey, Outgoing},
    metrics::Counters,
};

/// How a client is reached. [`Context::transport`](crate::Context::transport) returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A stream of server-sent events. The client sends its messages in POST requests.
    EventStream,
    /// Requests that are held until a message is due.
    LongPolling,
    /// Requests that are answered at once.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// The wire form of a connection. Members with the same form share their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Fragments of JSON, for batches.
    Fallback,
    /// Unmasked RFC 6455 frames. With parameters, messages are compressed.
    WebSocket(Option<CompressParams>),
    /// The body of an HTTP response: messages as they are, and nothing else.
    Body,
}

impl Wire {
    /// Encodes a message, compressed if that was agreed on and makes it smaller.
    ///
    /// Senders call [`encoded::encode`](super::encoded::encode) instead, which calls this once for the same bytes.
    pub(super) fn encode_anew(self, frame: &Outgoing, counters: &Counters) -> Bytes {
        match self {
            Self::Fallback => batch::encode(frame),
            Self::WebSocket(deflate) => deflate
                .and_then(|deflate| deflate.encode(frame, counters))
                .unwrap_or_else(|| websocket::encode::encode(frame)),
            Self::Body => self.encode_plain(frame),
        }
    }

    /// Encodes a message without compression, which every client on this wire form reads too.
    pub(crate) fn encode_plain(self, frame: &Outgoing) -> Bytes {
        match self {
            Self::Fallback => batch::encode(frame),
            Self::WebSocket(_) => websocket::encode::encode(frame),
            Self::Body => frame.message().payload(),
        }
    }

    /// Encodes a ping without a payload: anything that the client sends next shows that it is there.
    pub(crate) fn encode_ping(self) -> Bytes {
        match self {
            // A fallback transport has no pings: the client's requests show that it is there.
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

    /// Encodes the close.
    ///
    /// On a WebSocket a code that cannot be sent gives an empty close frame. This is how a close frame without a code
    /// is answered.
    pub(crate) fn encode_close(self, code: CloseCode, reason: &str) -> Bytes {
        match self {
            Self::Fallback => batch::encode_close(code, reason),
            Self::WebSocket(_) => websocket::encode::close(code, reason),
            Self::Body => Bytes::new(),
        }
    }
}

/// A frame, and the key that its message had.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Bytes,
    pub(crate) key: Option<ConflationKey>,
}

impl From<Bytes> for Packet {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, key: None }
    }
}
