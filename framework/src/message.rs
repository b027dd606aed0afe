//! The messages that a client sends ([`Message`]) and gets ([`Outgoing`]).

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::LazyLock,
};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Event, Result, error::InputError, event, json};

/// One whole message from the client.
///
/// The [guide](crate::docs::guide#consumer) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A binary message.
    Binary(Bytes),
    /// A text message.
    Text(ByteString),
}

impl Message {
    /// The bytes of a message of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Binary(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }

    /// The bytes of a message of either kind, without a copy.
    pub(crate) fn payload(&self) -> Bytes {
        match self {
            Self::Binary(bytes) => bytes.clone(),
            Self::Text(text) => text.as_bytes().clone(),
        }
    }

    /// The text; `None` for a binary message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Binary(_) => None,
            Self::Text(text) => Some(text),
        }
    }

    /// The text; an error for a binary message.
    ///
    /// # Errors
    /// [`InputError::NotText`] for a binary message.
    pub fn text(&self) -> Result<&str, InputError> {
        self.as_text().ok_or(InputError::NotText)
    }

    /// Reads the text as JSON. An event can be read with or without its `type`.
    ///
    /// Half of a surrogate pair, `"\ud83d"`, is read as U+FFFD. JavaScript writes it if a text was cut in the middle of an
    /// emoji. Python's `NaN`, `Infinity` and `-Infinity` are read as `null`.
    ///
    /// # Errors
    /// [`InputError::NotText`] for a binary message, [`InputError::Json`] if the JSON does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        json::read(self.text()?).map_err(InputError::json)
    }
}

/// One message to a client. Cheap to clone.
///
/// The [guide](crate::docs::guide#relay) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    message: Message,
    key: Option<ConflationKey>,
}

impl Outgoing {
    /// A text message.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Message::Text(text.into()).into()
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Message::Binary(bytes.into()).into()
    }

    /// A text message of `value` as JSON.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON, for example a map whose keys are not text.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self::text(serde_json::to_string(value)?))
    }

    /// A text message of `event` as JSON: `{"type":"chat.message","user":…}`.
    ///
    /// # Errors
    /// As [`Outgoing::json`].
    pub fn event<E: Event>(event: &E) -> Result<Self> {
        Ok(Self::text(event::wire::to_json(event)?))
    }

    /// The same message with a key, for example `price:BTC`.
    ///
    /// A newer message with the same key makes this one out of date. Under
    /// [`Overflow::Latest`](crate::Overflow::Latest), if the older one still waits to be written, the newer one takes
    /// its place. Under all other policies a key has no effect. Keys are compared by a 64-bit hash, with a secret that
    /// is random in each process.
    ///
    /// ```
    /// use greenroom::prelude::*;
    ///
    /// # #[derive(Clone, Serialize, Deserialize, Event)]
    /// # struct Price { symbol: String, cents: u64 }
    /// # struct Ticker;
    /// # impl Consumer for Ticker {}
    /// #[event_handlers]
    /// impl Ticker {
    ///     #[relay]
    ///     fn price(event: &Price) -> Result<Outgoing> {
    ///         Ok(Outgoing::event(event)?.keyed(&event.symbol))
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn keyed(mut self, key: impl AsRef<str>) -> Self {
        self.key = Some(ConflationKey::of(key.as_ref()));
        self
    }

    pub(crate) fn key(&self) -> Option<ConflationKey> {
        self.key
    }

    /// The message, without its key.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// How many bytes the message has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.message.as_bytes().len()
    }

    /// Whether the message has no bytes. Empty messages are sent and arrive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The hash of a message's key: messages with the same one replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConflationKey(NonZeroU64);

impl ConflationKey {
    pub(crate) fn of(text: &str) -> Self {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(NonZeroU64::new(SECRET.hash_one(text)).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Self { message, key: None }
    }
}

impl From<&str> for Outgoing {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::binary(bytes)
    }
}

/// What a `#[relay]` method may return: an [`Outgoing`], or a [`Result`] of one.
///
/// [`relay`](macro@crate::relay) has an example.
#[diagnostic::on_unimplemented(
    message = "a relay cannot return `{Self}`",
    label = "this is neither an `Outgoing` nor a `Result<Outgoing>`",
    note = "return `Outgoing::text(…)`, `Outgoing::json(…)` or `Outgoing::event(…)`"
)]
pub trait IntoOutgoing {
    /// The message, or the relay's error.
    ///
    /// # Errors
    /// The error of the relay. The members of its consumer type then miss the event, which is counted.
    fn into_outgoing(self) -> Result<Outgoing>;
}

impl IntoOutgoing for Outgoing {
    fn into_outgoing(self) -> Result<Outgoing> {
        Ok(self)
    }
}

impl IntoOutgoing for Result<Outgoing> {
    fn into_outgoing(self) -> Result<Outgoing> {
        self
    }
}
