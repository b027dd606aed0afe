//! Why a communicator did not get what its test waited for.

use std::{fmt, time::Duration};

use bytestring::ByteString;

use crate::{Message, causes::debug_shows_causes, close::CloseCode, shown::Shown};

/// Why a client did not receive what it waited for.
///
/// The page on [testing](crate::docs::testing) has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommunicatorError {
    /// The server closed the connection.
    Closed {
        /// The code of the close frame.
        code: CloseCode,
        /// The reason in the close frame.
        reason: ByteString,
    },
    /// The response of an HTTP consumer ended before it was whole. A real client sees a cut connection.
    Cut,
    /// The message is not the expected event.
    WrongEvent {
        /// The names of the expected event.
        expected: &'static [&'static str],
        /// The message.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection ended without a close frame.
    Gone,
    /// The text is not the expected JSON.
    Json {
        /// The text.
        text: String,
        /// The error of serde.
        reason: String,
    },
    /// There is no connection: `connect` was not called, or was refused.
    NotConnected,
    /// The server answered a request with an error.
    Refused {
        /// The code, for programs.
        code: String,
        /// The text, for people.
        text: String,
    },
    /// No message came in this time.
    Timeout(Duration),
    /// Other messages came, and not the one that was waited for.
    Unmatched {
        /// The last 16 messages that came.
        came: Vec<Message>,
        /// How many messages came.
        count: usize,
        /// Why no more are waited for.
        end: Box<CommunicatorError>,
    },
    /// A text came instead of a binary message, or the other way round.
    WrongKind(Message),
}

/// Shows a message: its text, or how many bytes it has.
struct Brief<'a>(&'a Message);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Message::Text(text) => write!(f, "{:?}", Shown(text)),
            Message::Binary(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

impl fmt::Display for CommunicatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } => write!(f, "the server closed with {code}, {reason:?}"),
            Self::Cut => f.write_str("the response was cut before its end: the log says why"),
            Self::WrongEvent { expected, text, reason } => {
                write!(f, "{:?} is not the event {}: {reason}", Shown(text), expected.join(" or "))
            }
            Self::Gone => f.write_str("the connection has ended without a close frame"),
            Self::Json { text, reason } => write!(f, "{text:?} is not the expected JSON: {reason}"),
            Self::NotConnected => {
                f.write_str("there is no connection: call connect() first, and see whether it is Ok")
            }
            Self::Refused { code, text } => {
                write!(f, "the request was answered with {}: {}", Shown(code), Shown(text))
            }
            Self::Timeout(time) => write!(f, "nothing came for {time:?}"),
            Self::Unmatched { came, count, end } => {
                let others = if *count == 1 { "another one" } else { &*format!("{count} others") };
                write!(f, "the message did not come, but {others}:")?;
                if came.len() < *count {
                    f.write_str(" …")?;
                }
                for message in came {
                    write!(f, " {},", Brief(message))?;
                }
                write!(f, " then {end}")
            }
            Self::WrongKind(message) => write!(f, "a message of the other kind came: {}", Brief(message)),
        }
    }
}

debug_shows_causes!(CommunicatorError);

impl std::error::Error for CommunicatorError {}
