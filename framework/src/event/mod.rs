//! Typed events, and the [`Envelope`] that carries one through a channel layer.

mod decoded;
#[doc(hidden)]
pub mod handler;
pub mod wire;
mod writable;

use std::{any::Any, fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::decoded::Decoded;

/// A value that travels through a channel layer under a name, as `{"type": "xx.oo", …}`.
///
/// Derive it: `#[derive(Clone, Serialize, Deserialize, Event)]`. The name is `#[event("xx.oo")]`, or
/// the type's name in dotted lower case (`ChatMessage` → `chat.message`). On an enum each variant has a name.
///
/// The [guide](crate::docs::guide#events-and-handlers) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "this type has no event name",
    note = "write `#[derive(Clone, Serialize, Deserialize, Event)]` above the type; your `Cargo.toml` needs `serde` with its feature `derive`"
)]
pub trait Event: Serialize + for<'de> Deserialize<'de> + Clone + Send + Sync + 'static {
    /// The names that values of this type have: one, or one for each variant, in order.
    const NAMES: &'static [&'static str];

    /// Whether the type is an enum: the derive says so.
    #[doc(hidden)]
    const IS_ENUM: bool = false;

    /// The name of this value.
    fn name(&self) -> &'static str;

    /// Whether a group with [history](crate::history) leaves this value out: who is away misses it. Default false.
    ///
    /// `#[event(transient)]` on the type or on a variant says so: for what is soon out of date, as "Ann is typing".
    fn is_transient(&self) -> bool {
        false
    }
}

/// Why an event could not be read from its wire form or written to it.
///
/// [`Envelope`] has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The fields do not fit the type as which the event is read.
    Fields {
        /// The event's name.
        name: String,
        /// The reason, in the words of serde.
        reason: String,
    },
    /// The `type` starts with `_` or `.`, is empty, or is not a text (rule 5: in Channels it ends the consumer).
    MalformedType(String),
    /// The event has no `type` (rule 5: in Channels this ends the consumer).
    MissingType,
    /// The bytes are not a map with text keys, are damaged, or nest too deep.
    NotAMap(String),
    /// The event cannot be written, for example because a map has keys that are not text.
    Unwritable {
        /// The event's name.
        name: String,
        /// The reason, in the words of serde.
        reason: String,
    },
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields { name, reason } => {
                write!(f, "the event {name:?} does not have the expected fields: {reason}")
            }
            Self::MalformedType(name) => {
                write!(
                    f,
                    "the event type {name:?} is malformed: it must be a text that is not empty and does not start with `_` or `.`"
                )
            }
            Self::MissingType => f.write_str("the event has no `type`"),
            Self::NotAMap(reason) => write!(f, "an event must be a map with a `type`: {reason}"),
            Self::Unwritable { name, reason } => write!(f, "the event {name:?} cannot be written: {reason}"),
        }
    }
}

impl EventError {
    /// Names both types of an event that was sent as one type and does not fit another type with the same name.
    fn of_types(self, sent: &str, read: &str) -> Self {
        match self {
            Self::Fields { name, reason } => Self::Fields {
                name,
                reason: format!("{reason} (it was sent as {sent}, and is read as {read})"),
            },
            other => other,
        }
    }
}

crate::causes::debug_shows_causes!(EventError);

impl std::error::Error for EventError {}

/// An event on its way through a layer. Cheap to clone.
///
/// It holds a typed value that all receivers share, or the bytes that another program wrote.
///
/// ```
/// use greenroom::{Envelope, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct ChatMessage { text: String }
///
/// let envelope = Envelope::from_json(r#"{"type": "chat.message", "text": "hello"}"#)?;
/// assert_eq!(envelope.event::<ChatMessage>()?.text, "hello");
/// # Ok::<(), greenroom::EventError>(())
/// ```
#[derive(Clone)]
pub struct Envelope(Repr);

#[derive(Clone)]
enum Repr {
    Typed(Arc<dyn AnyEvent>),
    Wire(Arc<WireEvent>),
}

struct WireEvent {
    name: String,
    format: Format,
    bytes: Bytes,
    decoded: Decoded,
}

/// How the bytes of an event are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// JSON.
    Json,
    /// MessagePack, as channels_redis writes it.
    MsgPack,
}

/// An [`Event`] of any type.
trait AnyEvent: Any + Send + Sync {
    fn type_name(&self) -> &'static str;
    fn name(&self) -> &'static str;
    fn write(&self, format: Format) -> Result<Vec<u8>, EventError>;
    fn check_writable(&self) -> Result<(), EventError>;
    fn is_transient(&self) -> bool;
}

impl<E: Event> AnyEvent for E {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<E>()
    }

    fn name(&self) -> &'static str {
        Event::name(self)
    }

    fn write(&self, format: Format) -> Result<Vec<u8>, EventError> {
        wire::write(self, format)
    }

    fn check_writable(&self) -> Result<(), EventError> {
        writable::check(self)
    }

    fn is_transient(&self) -> bool {
        Event::is_transient(self)
    }
}

impl Envelope {
    /// Wraps a typed event.
    pub fn new<E: Event>(event: E) -> Self {
        Self(Repr::Typed(Arc::new(event)))
    }

    /// Makes an envelope of the bytes of an event that another program wrote.
    ///
    /// The fields are read when a receiver takes the event, once for each type: see [`event`](Self::event).
    ///
    /// # Errors
    /// [`EventError`] if the bytes are not a map, or if the `type` is missing or malformed (rule 5).
    pub fn from_wire(format: Format, bytes: impl Into<Bytes>) -> Result<Self, EventError> {
        let mut bytes = bytes.into();
        let name = wire::read_type(format, &bytes).or_else(|error| {
            bytes = wire::repaired(format, &bytes).ok_or(error)?;
            wire::read_type(format, &bytes)
        })?;
        Ok(Self::of_type(name, format, bytes))
    }

    /// The envelope of bytes whose `type` was read before, by [`wire::read_type`].
    pub(crate) fn of_type(name: String, format: Format, bytes: Bytes) -> Self {
        Self(Repr::Wire(Arc::new(WireEvent { name, format, bytes, decoded: Decoded::default() })))
    }

    /// Makes an envelope of an event that is written as JSON, `{"type": "xx.oo", …}`.
    ///
    /// # Errors
    /// As [`Envelope::from_wire`].
    pub fn from_json(text: impl AsRef<str>) -> Result<Self, EventError> {
        Self::from_wire(Format::Json, text.as_ref().as_bytes().to_vec())
    }

    /// The event's name, its `type` on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Repr::Typed(event) => event.name(),
            Repr::Wire(event) => &event.name,
        }
    }

    /// The event as an `E`: shared if it was sent as one, else read from its wire form.
    ///
    /// An event that came from the wire is read once for each type: all clones of the envelope share the value, or the
    /// error. If several threads ask for the first time at the same moment, each reads it, and they share one of the
    /// values.
    ///
    /// If an event was sent as a Rust type and is taken as another type with the same name, each call writes and reads
    /// it.
    ///
    /// # Errors
    /// [`EventError::Fields`] if the fields are not those of `E`.
    pub fn event<E: Event>(&self) -> Result<Arc<E>, EventError> {
        match &self.0 {
            Repr::Typed(event) => {
                let any: Arc<dyn Any + Send + Sync> = Arc::clone(event) as _;
                match any.downcast::<E>() {
                    Ok(event) => Ok(event),
                    // Another type with the same name: it is read from the wire form.
                    Err(_) => wire::from_bytes(Format::MsgPack, &event.write(Format::MsgPack)?)
                        .map(Arc::new)
                        .map_err(|error| error.of_types(event.type_name(), std::any::type_name::<E>())),
                }
            }
            Repr::Wire(event) => {
                event.decoded.event(|| wire::read_named(event.format, &event.name, &event.bytes))
            }
        }
    }

    /// About how many bytes the event has in its wire form. A typed event is written to find out.
    pub(crate) fn size_hint(&self) -> usize {
        match &self.0 {
            // An event that cannot be written is refused elsewhere.
            Repr::Typed(event) => event.write(Format::MsgPack).map_or(0, |bytes| bytes.len()),
            Repr::Wire(event) => event.bytes.len(),
        }
    }

    /// Whether the event is never kept in a group's history. For an event that another program wrote, nobody knows.
    pub(crate) fn is_transient(&self) -> bool {
        match &self.0 {
            Repr::Typed(event) => event.is_transient(),
            Repr::Wire(_) => false,
        }
    }

    /// Whether the event can be written, for a layer that does not write it. A type is written only once.
    pub(crate) fn check_writable(&self) -> Result<(), EventError> {
        match &self.0 {
            Repr::Typed(event) => event.check_writable(),
            Repr::Wire(_) => Ok(()),
        }
    }

    /// The event's bytes on the wire, `type` first.
    ///
    /// # Errors
    /// [`EventError::Unwritable`] if the event has no such form.
    pub fn to_wire(&self, format: Format) -> Result<Bytes, EventError> {
        match &self.0 {
            Repr::Typed(event) => event.write(format).map(Bytes::from),
            Repr::Wire(event) if event.format == format => Ok(event.bytes.clone()),
            Repr::Wire(event) => wire::transcode(event.format, format, &event.bytes).map(Bytes::from),
        }
    }

    /// The event as a JSON text.
    ///
    /// # Errors
    /// As [`Envelope::to_wire`].
    pub fn to_json(&self) -> Result<String, EventError> {
        let bytes = self.to_wire(Format::Json)?;
        String::from_utf8(bytes.into()).map_err(|error| EventError::NotAMap(error.to_string()))
    }
}

impl<E: Event> From<E> for Envelope {
    fn from(event: E) -> Self {
        Self::new(event)
    }
}

impl From<&Self> for Envelope {
    fn from(envelope: &Self) -> Self {
        envelope.clone()
    }
}

/// What can be sent: an event, a reference to an event, or an [`Envelope`].
///
/// Every type that is `Into<Envelope>` can be sent. The derive of [`Event`] adds references, whose events are cloned.
/// If `Event` is implemented by hand, the event is sent by value. To send one event several times, make an `Envelope`
/// of it: its clones share the event.
///
/// The [guide](crate::docs::guide#layer) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "this is neither an event nor an `Envelope`",
    note = "write `#[derive(Clone, Serialize, Deserialize, Event)]` above the type; your `Cargo.toml` needs `serde` with its feature `derive`"
)]
pub trait IntoEnvelope: Into<Envelope> {}

// Otherwise the compiler's error speaks of `Into`, and does not say what to write.
#[diagnostic::do_not_recommend]
impl<T: Into<Envelope>> IntoEnvelope for T {}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Envelope").field(&self.name()).finish()
    }
}
