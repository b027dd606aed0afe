//! An event's wire form: a map with `type` beside the event's fields.
//!
//! Two thin wrappers around serde's own traits make this form. One writes `type` first, and the other hides `type`
//! from the event that is read. So the usual serde attributes keep their meaning, and nothing is copied into a tree on
//! the way.
//!
//! Both formats use serde's human-readable form. So a value with two forms, such as an IP address, is a text in
//! MessagePack too, as Python and readers of JSON expect.

#[cfg(feature = "redis")]
pub(crate) mod addressed;
mod de;
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) mod except;
#[cfg(any(feature = "nats", feature = "redis"))]
mod map_header;
mod ser;
mod strict;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use self::value::Value;
use super::{Event, EventError, Format};
use crate::{json, shown::Shown};

/// How many levels deep an event may nest.
///
/// This is the limit of serde_json. MessagePack needs it too, because the stack of a thread is too small for
/// rmp-serde's default of 1,024 levels.
const MAX_DEPTH: usize = 128;

/// Writes `event` as a JSON text, `type` first.
///
/// # Errors
/// [`EventError::Unwritable`] if the event is not written as a map with text keys, or has a field that is called
/// `type` or `__asgi…`.
pub fn to_json<E: Event>(event: &E) -> Result<String, EventError> {
    serde_json::to_string(&ser::Typed(event)).map_err(|error| unwritable_event(event, &error))
}

/// Writes `event` as MessagePack, with `type` first and the names of the fields.
///
/// # Errors
/// As [`to_json`].
pub fn to_msgpack<E: Event>(event: &E) -> Result<Vec<u8>, EventError> {
    write_msgpack(&ser::Typed(event)).map_err(|error| unwritable_event(event, &error))
}

pub(super) fn write<E: Event>(event: &E, format: Format) -> Result<Vec<u8>, EventError> {
    match format {
        Format::Json => to_json(event).map(String::into_bytes),
        Format::MsgPack => to_msgpack(event),
    }
}

/// Reads an event of the type `E`.
///
/// `type` may stand anywhere. Fields that are called `__asgi…`, and unknown fields, are ignored.
///
/// # Errors
/// As [`read_type`], and [`EventError::Fields`] if `type` is not a name of `E` or a field does not fit.
pub fn from_bytes<E: Event>(format: Format, bytes: &[u8]) -> Result<E, EventError> {
    let name = read_type(format, bytes)?;
    read_named(format, &name, bytes)
}

/// Reads an `E` from bytes whose `type` was read before, by [`read_type`].
///
/// [`read_type`] also limits the depth, because rmp-serde does not count the levels of an enum.
pub(super) fn read_named<E: Event>(format: Format, name: &str, bytes: &[u8]) -> Result<E, EventError> {
    let fields = |reason: String| EventError::Fields { name: name.to_owned(), reason };
    let Some(variant) = E::NAMES.iter().position(|known| *known == name) else {
        return Err(fields(format!("the type that reads it is for {}", E::NAMES.join(", "))));
    };
    match format {
        Format::Json => {
            let mut json = serde_json::Deserializer::from_slice(bytes);
            E::deserialize(de::Fields::new(&mut json, variant))
                .map_err(|error| fields(Shown(error).to_string()))
        }
        Format::MsgPack => {
            let mut pack = msgpack(bytes);
            E::deserialize(de::Fields::new(&mut pack, variant)).or_else(|error| {
                // A reader of JSON makes numbers of the keys of a map, which are texts. This one does not.
                let json = transcode(Format::MsgPack, Format::Json, bytes);
                let read = json.and_then(|json| read_named(Format::Json, name, &json));
                read.map_err(|_| fields(Shown(error).to_string()))
            })
        }
    }
}

/// Reads the `type` of the event in `bytes`, and checks it (rule 5: it must not start with `_`).
///
/// If there are two, the last one counts, as in Python. All of `bytes` is read. `Ok` means that `bytes` are one
/// well-formed map, with nothing behind it.
///
/// # Errors
/// [`EventError::NotAMap`] if `bytes` are not a map with text keys, are damaged, or nest deeper than 128 levels;
/// [`EventError::MissingType`] if there is no `type`; [`EventError::MalformedType`] if the `type` is not a text, is
/// empty, or starts with `_` or `.`.
pub fn read_type(format: Format, bytes: &[u8]) -> Result<String, EventError> {
    let found = match format {
        Format::Json => read_json::<de::TypeOf>(bytes)?,
        Format::MsgPack => read_msgpack::<de::TypeOf>(bytes)?,
    };
    match found.0 {
        None => Err(EventError::MissingType),
        Some(Value::Text(name)) if !name.is_empty() && !name.starts_with(['_', '.']) => Ok(name),
        Some(Value::Text(name)) => Err(EventError::MalformedType(Shown(name).to_string())),
        Some(other) => Err(EventError::MalformedType(other.kind().to_owned())),
    }
}

/// Writes an event's bytes in the other format, field by field and in their order.
///
/// Numbers keep their value. In JSON, bytes become a list of numbers, and floats that JSON does not have become
/// `null`.
///
/// # Errors
/// [`EventError::NotAMap`] if `bytes` are damaged, [`EventError::Unwritable`] if JSON cannot hold them, for example a
/// key that is a list.
pub fn transcode(from: Format, to: Format, bytes: &[u8]) -> Result<Vec<u8>, EventError> {
    let value: Value = match from {
        Format::Json => read_json(bytes)?,
        Format::MsgPack => read_msgpack(bytes)?,
    };
    let name = || read_type(from, bytes).unwrap_or_default();
    match to {
        Format::Json => serde_json::to_vec(&value).map_err(|error| unwritable(&name(), &error)),
        Format::MsgPack => write_msgpack(&value).map_err(|error| unwritable(&name(), &error)),
    }
}

/// Names the Rust type, because a program may have several with events of one name.
fn unwritable_event<E: Event>(event: &E, reason: &dyn std::error::Error) -> EventError {
    let reason = format!("{reason} (the Rust type is {})", std::any::type_name::<E>());
    EventError::Unwritable { name: event.name().to_owned(), reason }
}

fn unwritable(name: &str, reason: &dyn std::error::Error) -> EventError {
    EventError::Unwritable { name: name.to_owned(), reason: reason.to_string() }
}

fn write_msgpack<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(128);
    value.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable())?;
    Ok(bytes)
}

/// JSON that Python wrote with half of a surrogate pair, or with a number that is not finite, as JSON that can be read.
pub(super) fn repaired(format: Format, bytes: &[u8]) -> Option<Bytes> {
    let text = (format == Format::Json).then(|| std::str::from_utf8(bytes).ok()).flatten()?;
    match json::repaired(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text.into()),
    }
}

fn read_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, EventError> {
    // serde_json does not check the texts that it skips, so it would accept bad UTF-8.
    let text = std::str::from_utf8(bytes).map_err(|error| EventError::NotAMap(Shown(error).to_string()))?;
    serde_json::from_str(text).map_err(|error| EventError::NotAMap(Shown(error).to_string()))
}

fn read_msgpack<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, EventError> {
    let mut pack = msgpack(bytes);
    let value = T::deserialize(&mut pack).map_err(|error| EventError::NotAMap(Shown(error).to_string()))?;
    // A unit is one marker. Any other type could read a marker, and then miss the one of its first part.
    match <()>::deserialize(&mut pack) {
        // No further marker: the bytes end behind the map.
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(EventError::NotAMap("there are bytes behind the map".into())),
    }
}

type MsgPack<'de> = rmp_serde::Deserializer<
    rmp_serde::decode::ReadRefReader<'de, [u8]>,
    rmp_serde::config::HumanReadableConfig<rmp_serde::config::DefaultConfig>,
>;

fn msgpack(bytes: &[u8]) -> MsgPack<'_> {
    let mut pack = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    pack.set_max_depth(MAX_DEPTH);
    pack
}
