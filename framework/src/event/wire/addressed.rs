//! The key that says which channels an event is for. Channels adds it to an event, and takes it out again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    map_header, msgpack, read_json, read_msgpack, read_type, repaired, unwritable,
    value::{Skipped, TextKey, Value},
    write_msgpack,
};
use crate::event::{Envelope, EventError, Format};

/// The key in the map of the event. Channels writes it last, but it is read in any place.
const KEY: &str = "__asgi_channel__";
/// The key in MessagePack. Its first byte says that a text of 16 bytes follows.
const PACKED_KEY: &[u8] = b"\xb0__asgi_channel__";

/// The channels that an event is for.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(crate) enum Recipients<'a> {
    /// One channel, as `send` writes it.
    One(&'a str),
    /// Several channels behind one queue, as `group_send` writes them.
    Many(&'a [&'a str]),
}

/// Adds the recipients of an event as the last key of the map in `bytes`.
pub(crate) fn address(format: Format, bytes: &[u8], to: Recipients<'_>) -> Result<Vec<u8>, EventError> {
    let refused = |error: &dyn std::error::Error| unwritable(KEY, error);
    match format {
        Format::Json => {
            let to = serde_json::to_string(&to).map_err(|error| refused(&error))?;
            let rest = bytes.trim_ascii_end().strip_suffix(b"}").ok_or_else(not_a_map)?;
            // An event has at least its `type`, so a comma is needed.
            Ok([rest, b", \"", KEY.as_bytes(), b"\": ", to.as_bytes(), b"}"].concat())
        }
        Format::MsgPack => {
            let (entries, header) = map_header::read(bytes).ok_or_else(not_a_map)?;
            let to = write_msgpack(&to).map_err(|error| refused(&error))?;
            let mut written = Vec::with_capacity(bytes.len() + PACKED_KEY.len() + to.len() + 2);
            map_header::write(entries.checked_add(1).ok_or_else(not_a_map)?, &mut written);
            for part in [&bytes[header..], PACKED_KEY, &to] {
                written.extend_from_slice(part);
            }
            Ok(written)
        }
    }
}

/// Refuses an event in MessagePack that has a map with keys that are not texts.
///
/// Such an event would end the Python process that reads it.
pub(crate) fn check_keys(name: &str, bytes: &[u8]) -> Result<(), EventError> {
    let checked = Skipped::<TextKey>::deserialize(&mut msgpack(bytes));
    checked.map(drop).map_err(|error| unwritable(name, &error))
}

/// Reads an event and the channels that it is for.
///
/// If the key is the last one of the map, the event has the same bytes as before the key was added.
pub(crate) fn read(format: Format, bytes: Bytes) -> Result<(Envelope, Vec<String>), EventError> {
    if !contains(&bytes, KEY.as_bytes()) {
        return Ok((Envelope::from_wire(format, bytes)?, Vec::new()));
    }
    if format == Format::MsgPack
        && let Some(taken) = read_before_last(&bytes)
    {
        return Ok(taken);
    }
    let value = match format {
        Format::Json => read_json(&bytes).or_else(|error| match repaired(format, &bytes) {
            Some(repaired) => read_json(&repaired),
            None => Err(error),
        })?,
        Format::MsgPack => read_msgpack(&bytes)?,
    };
    let Value::Map(mut entries) = value else { return Err(not_a_map()) };
    let mut to = Vec::new();
    entries.retain(|(key, value)| {
        let found = matches!(key, Value::Text(key) if key == KEY);
        if found {
            to = channels(value);
        }
        !found
    });
    let value = Value::Map(entries);
    let refused = |error: &dyn std::error::Error| unwritable(KEY, error);
    let rest = match format {
        Format::Json => serde_json::to_vec(&value).map_err(|error| refused(&error))?,
        Format::MsgPack => write_msgpack(&value).map_err(|error| refused(&error))?,
    };
    Ok((Envelope::from_wire(format, rest)?, to))
}

/// Does the same, if the key is the last of a map in MessagePack. Channels and Greenroom write it so.
fn read_before_last(bytes: &Bytes) -> Option<(Envelope, Vec<String>)> {
    let (entries, header) = map_header::read(bytes)?;
    let at = bytes.windows(PACKED_KEY.len()).rposition(|part| part == PACKED_KEY)?;
    let value: Value = read_msgpack(&bytes[at + PACKED_KEY.len()..]).ok()?;
    let mut rest = Vec::with_capacity(at);
    map_header::write(entries.checked_sub(1)?, &mut rest);
    rest.extend_from_slice(bytes.get(header..at)?);
    // The bytes of the key may stand inside another value. Then the bytes before them are not a map.
    let name = read_type(Format::MsgPack, &rest).ok()?;
    Some((Envelope::of_type(name, Format::MsgPack, rest.into()), channels(&value)))
}

fn channels(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    match value {
        Value::List(values) => values.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn not_a_map() -> EventError {
    EventError::NotAMap("these bytes are not a map".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x82\xa4type\xa1x\xa1a\xc3";

    /// The event's bytes, and the channels that it is for.
    fn taken(format: Format, bytes: impl Into<Bytes>) -> (Bytes, Vec<String>) {
        let (envelope, to) = read(format, bytes.into()).unwrap();
        assert_eq!(envelope.name(), "x");
        (envelope.to_wire(format).unwrap(), to)
    }

    #[test]
    fn one_channel_and_several_are_written_as_python_does() {
        let one = address(Format::MsgPack, PLAIN, Recipients::One("plain-chan")).unwrap();
        assert_eq!(one, b"\x83\xa4type\xa1x\xa1a\xc3\xb0__asgi_channel__\xaaplain-chan");
        let several = address(Format::MsgPack, PLAIN, Recipients::Many(&["a", "b"])).unwrap();
        assert_eq!(several, b"\x83\xa4type\xa1x\xa1a\xc3\xb0__asgi_channel__\x92\xa1a\xa1b");
        let json = address(Format::Json, br#"{"type":"x"}"#, Recipients::Many(&["a"])).unwrap();
        assert_eq!(json, br#"{"type":"x", "__asgi_channel__": ["a"]}"#);
        for bad in [&b""[..], b"\x90", b"[]", b"\xde\x00"] {
            assert!(address(Format::MsgPack, bad, Recipients::One("a")).is_err());
            assert!(address(Format::Json, bad, Recipients::One("a")).is_err());
        }
    }

    #[test]
    fn what_was_added_is_taken_out_again() {
        for (format, plain) in [(Format::MsgPack, PLAIN), (Format::Json, br#"{"type":"x"}"#)] {
            let (rest, to) = taken(format, address(format, plain, Recipients::Many(&["a!b", "c"])).unwrap());
            assert_eq!((&rest[..], to), (plain, vec!["a!b".to_owned(), "c".to_owned()]));
            let (rest, to) = taken(format, plain);
            assert_eq!((&rest[..], to.len()), (plain, 0));
        }
    }

    #[test]
    fn the_key_may_stand_anywhere() {
        let first = Bytes::from_static(b"\x83\xb0__asgi_channel__\xa1c\xa4type\xa1x\xa1a\xc3");
        assert_eq!(taken(Format::MsgPack, first), (PLAIN.into(), vec!["c".to_owned()]));
        let json = Bytes::from_static(br#"{"__asgi_channel__": "c", "type": "x"}"#);
        let (rest, to) = taken(Format::Json, json);
        assert_eq!((&rest[..], to), (&br#"{"type":"x"}"#[..], vec!["c".to_owned()]));
    }

    #[test]
    fn nothing_may_stand_behind_the_channels() {
        let addressed = address(Format::MsgPack, PLAIN, Recipients::One("c")).unwrap();
        assert!(read(Format::MsgPack, addressed.clone().into()).is_ok());
        for behind in [&b"\x81"[..], b"\x92\x01", b"\xc0", b"\xa1", b"\xc1", b"\xde", b"\xd4"] {
            assert!(read(Format::MsgPack, [&addressed, behind].concat().into()).is_err(), "{behind:02x?}");
        }
    }

    #[test]
    fn one_odd_value_does_not_lose_an_event_in_json() {
        let json = br#"{"type":"x","a":"\ud83d","b":-Infinity,"__asgi_channel__":"c"}"#;
        let (rest, to) = taken(Format::Json, &json[..]);
        assert_eq!(
            (&rest[..], to),
            ("{\"type\":\"x\",\"a\":\"\u{fffd}\",\"b\":null}".as_bytes(), vec!["c".to_owned()])
        );
    }

    #[test]
    fn the_same_bytes_inside_a_value_are_not_the_key() {
        let inside = b"\x82\xa4type\xa1x\xa1a\xc4\x13\xb0__asgi_channel__\xa1c";
        let (rest, to) = taken(Format::MsgPack, &inside[..]);
        assert_eq!((&rest[..], to.len()), (&inside[..], 0));
        assert!(read(Format::MsgPack, Bytes::from_static(b"\x91\xb0__asgi_channel__")).is_err());
    }

    #[test]
    fn a_map_may_have_any_number_of_entries() {
        for entries in [14_u32, 15, 16, 65_534, 65_535, 65_536] {
            let mut bytes = Vec::new();
            map_header::write(entries, &mut bytes);
            bytes.extend(b"\xa4type\xa1x");
            for number in 1..entries {
                bytes.extend(write_msgpack(&number.to_string()).unwrap());
                bytes.push(0xc0);
            }
            let addressed = address(Format::MsgPack, &bytes, Recipients::One("c")).unwrap();
            let (rest, to) = taken(Format::MsgPack, addressed);
            assert!(rest == bytes && to == ["c"], "{entries}");
        }
    }
}
