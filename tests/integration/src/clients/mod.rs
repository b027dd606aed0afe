//! One client trait over every way in, so that one suite asks all of them the same.

mod fallback;
mod python;
mod websocket;

use std::net::SocketAddr;

pub use self::{
    fallback::{EventStream, LongPolling, Polling},
    python::{PythonEventStream, PythonLongPolling, PythonPolling},
    websocket::WebSocket,
};

/// A client of a consumer.
///
/// It reads only while it is asked to [`receive`](Self::receive): who does not call that is a client that does not read.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait TestClient: Sized {
    /// Whether the server sees at once that the client has vanished, and not when its time is over.
    const IS_SEEN_TO_VANISH: bool;

    /// Asks to be let in, with a path that may have a query and with subprotocols.
    ///
    /// # Errors
    /// With what it was refused.
    async fn open(address: SocketAddr, path: &str, protocols: &[&str]) -> Result<Opened<Self>, Refused>;

    /// Sends a message; false where the server takes no more.
    async fn send(&mut self, message: Said) -> bool;

    /// Waits for the next message, or the end.
    async fn receive(&mut self) -> Heard;

    /// Closes with a code, or with none.
    async fn close(self, code: Option<u16>, reason: &str);

    /// Leaves without a word.
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

    /// Waits for the end, past all messages.
    async fn ended(&mut self) -> (u16, String) {
        loop {
            if let Heard::Closed { code, reason } = self.receive().await {
                return (code, reason);
            }
        }
    }
}

/// A client that was let in.
#[derive(Debug)]
pub struct Opened<C> {
    /// The client.
    pub client: C,
    /// The subprotocol that the consumer chose.
    pub protocol: Option<String>,
}

/// A client that was not let in.
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
    /// The end: nothing comes after it.
    Closed {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// A message.
    Message(Said),
}
