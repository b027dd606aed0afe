//! One client trait over all transports, so that one suite tests them all.

mod fallback;
mod python;
mod websocket;

use std::net::SocketAddr;

pub use self::{
    fallback::{EventStream, LongPolling, Polling},
    python::{PythonEventStream, PythonLongPolling, PythonPolling, PythonResuming},
    websocket::WebSocket,
};

/// A client of a consumer.
///
/// It reads only during [`receive`](Self::receive). Without this call, it is a client that does not read.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait TestClient: Sized {
    /// Whether the server sees at once that the client has vanished, and not only after a timeout.
    const IS_SEEN_TO_VANISH: bool;

    /// Connects to a path, which may have a query, and offers subprotocols.
    ///
    /// # Errors
    /// If the server or the consumer refuses the client.
    async fn open(address: SocketAddr, path: &str, protocols: &[&str]) -> Result<Opened<Self>, Refused>;

    /// Sends a message. Returns false if the server takes no more messages.
    async fn send(&mut self, message: Said) -> bool;

    /// Waits for the next message, or the end.
    async fn receive(&mut self) -> Heard;

    /// Closes with a code, or without one.
    async fn close(self, code: Option<u16>, reason: &str);

    /// Leaves without telling the server.
    async fn vanish(self);

    /// Sends a text message that the server takes.
    async fn say(&mut self, text: &str) {
        assert!(self.send(Said::Text(text.to_owned())).await, "the server takes {text:?}");
    }

    /// Waits for the next message, which must be a text.
    async fn text(&mut self) -> String {
        match self.receive().await {
            Heard::Message(Said::Text(text)) => text,
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// Waits for the end, and skips all messages before it.
    async fn ended(&mut self) -> (u16, String) {
        loop {
            if let Heard::Closed { code, reason } = self.receive().await {
                return (code, reason);
            }
        }
    }
}

/// A client that is connected.
#[derive(Debug)]
pub struct Opened<C> {
    /// The client.
    pub client: C,
    /// The subprotocol that the consumer chose.
    pub protocol: Option<String>,
}

/// The answer to a client that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status of the answer.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// A message, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A binary message.
    Binary(Vec<u8>),
    /// A text message.
    Text(String),
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The end. Nothing comes after it.
    Closed {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// A message.
    Message(Said),
}
