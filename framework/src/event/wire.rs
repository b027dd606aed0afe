//! An event's wire form: a map with `type` beside the event's fields, as Channels writes it.

use super::{Event, EventError, Format};

/// Writes `event` as a JSON text, `type` first.
pub fn to_json<E: Event>(event: &E) -> Result<String, EventError> {
    let _ = event;
    unimplemented!()
}

/// Writes `event` as MessagePack, `type` first, fields by name.
pub fn to_msgpack<E: Event>(event: &E) -> Result<Vec<u8>, EventError> {
    let _ = event;
    unimplemented!()
}

/// Reads an `E`; `type` may stand anywhere, `__asgi*` and unknown fields are ignored.
pub fn from_bytes<E: Event>(format: Format, bytes: &[u8]) -> Result<E, EventError> {
    let _ = (format, bytes);
    unimplemented!()
}

/// The `type` of the event in `bytes`, checked as rule 5 says.
pub fn read_type(format: Format, bytes: &[u8]) -> Result<String, EventError> {
    let _ = (format, bytes);
    unimplemented!()
}

/// Writes an event's bytes in the other format, field by field.
pub fn transcode(from: Format, to: Format, bytes: &[u8]) -> Result<Vec<u8>, EventError> {
    let _ = (from, to, bytes);
    unimplemented!()
}
