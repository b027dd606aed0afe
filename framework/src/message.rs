//! What a client sent ([`Message`]) and what goes to a client ([`Frame`]).

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, Result, error::InputError, event};

/// One whole message from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A binary message.
    Binary(Bytes),
    /// A text message.
    Text(ByteString),
}

impl Message {
    /// The bytes of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Binary(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// The text, where it is a text message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Binary(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// [`InputError::NotText`] for a binary message.
    pub fn text(&self) -> Result<&str, InputError> {
        self.as_text().ok_or(InputError::NotText)
    }

    /// Reads the text as JSON. An event reads with or without its `type` in it.
    ///
    /// # Errors
    /// [`InputError::NotText`] for a binary message, [`InputError::Json`] where the text is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        serde_json::from_str(self.text()?).map_err(InputError::Json)
    }
}

/// One message to a client. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A binary message.
    Binary(Bytes),
    /// A text message.
    Text(ByteString),
}

impl Frame {
    /// A text message.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// A text message of `value` as JSON.
    ///
    /// # Errors
    /// Where `value` cannot be written as JSON, as a map whose keys are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self::Text(serde_json::to_string(value)?.into()))
    }

    /// A text message of `event` as JSON: `{"type":"chat.message","user":…}`.
    ///
    /// # Errors
    /// As [`Frame::json`].
    pub fn event<E: Event>(event: &E) -> Result<Self> {
        Ok(Self::Text(event::wire::to_json(event)?.into()))
    }

    /// How many bytes the message has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Whether the message has no bytes. Empty messages are sent and arrive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for Frame {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

/// What a `#[relay]` method may return: a [`Frame`], or a [`Result`] of one.
#[diagnostic::on_unimplemented(
    message = "a relay cannot return `{Self}`",
    label = "neither a `Frame` nor a `Result<Frame>`",
    note = "make a frame of it: `Frame::text(…)`, `Frame::json(…)`, `Frame::event(…)`"
)]
pub trait IntoFrame {
    /// The frame, or why there is none.
    ///
    /// # Errors
    /// The relay's own: the event is dropped for the members of its consumer type, and counted.
    fn into_frame(self) -> Result<Frame>;
}

impl IntoFrame for Frame {
    fn into_frame(self) -> Result<Frame> {
        Ok(self)
    }
}

impl IntoFrame for Result<Frame> {
    fn into_frame(self) -> Result<Frame> {
        self
    }
}
