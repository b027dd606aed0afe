//! The channels that an event leaves out, on its way to other processes.
//!
//! They stand in a *second* `type`, in front of the event's own: `{"type": {"except": [...]}, "type": "chat.message", …}`.
//! Readers of MessagePack and of JSON keep the last of two equal keys. So Python gets the event without them, in the
//! same order of keys, and so does a Greenroom that does not know of them. No other key would stay hidden: consumers in
//! Python get all keys of an event, and may pass them on to their clients.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{MAX_DEPTH, map_header, unwritable, write_msgpack};
use crate::event::{EventError, Format};

/// The first `type` in JSON, up to its value's first byte. Nobody else writes a map there.
const JSON_START: &[u8] = br#"{"type":{"#;
/// The key `type` in MessagePack.
const PACKED_TYPE: &[u8] = b"\xa4type";

/// The value of the first `type`.
#[derive(Serialize)]
struct FirstType<'a> {
    except: &'a [&'a str],
}

/// The same, as it is read. Unknown fields are ignored, so that later versions may add some.
#[derive(Deserialize)]
struct ReadFirstType {
    except: Vec<String>,
}

/// Makes an event leave out these channels, and no others.
///
/// A program may send bytes that came from elsewhere as an event. Such bytes leave nobody out by themselves.
pub(crate) fn write<'a>(
    format: Format,
    event: Bytes,
    channels: impl IntoIterator<Item = &'a str>,
) -> Result<Bytes, EventError> {
    let (event, _) = read(format, event);
    let channels: Vec<&str> = channels.into_iter().collect();
    if channels.is_empty() {
        return Ok(event);
    }
    let first = FirstType { except: &channels };
    let not_a_map = || EventError::NotAMap("these bytes are not a map".into());
    let mut written = Vec::with_capacity(event.len() + 32 + 64 * channels.len());
    match format {
        Format::Json => {
            let rest = event.trim_ascii_start().strip_prefix(b"{").ok_or_else(not_a_map)?;
            written.extend_from_slice(br#"{"type":"#);
            serde_json::to_writer(&mut written, &first).map_err(|error| unwritable("type", &error))?;
            // An event has at least its own `type`, so a comma is needed.
            written.push(b',');
            written.extend_from_slice(rest);
        }
        Format::MsgPack => {
            let (entries, header) = map_header::read(&event).ok_or_else(not_a_map)?;
            let first = write_msgpack(&first).map_err(|error| unwritable("type", &error))?;
            map_header::write(entries.checked_add(1).ok_or_else(not_a_map)?, &mut written);
            for part in [PACKED_TYPE, &first, &event[header..]] {
                written.extend_from_slice(part);
            }
        }
    }
    Ok(written.into())
}

/// Takes the channels out of an event that leaves some out. Every other event stays as it is, after a look at its start.
pub(crate) fn read(format: Format, event: Bytes) -> (Bytes, Vec<String>) {
    let found = match format {
        Format::Json => read_json(&event),
        Format::MsgPack => read_msgpack(&event),
    };
    match found {
        Some((first, rest)) => (rest, first.except),
        None => (event, Vec::new()),
    }
}

fn read_json(event: &[u8]) -> Option<(ReadFirstType, Bytes)> {
    if !event.starts_with(JSON_START) {
        return None;
    }
    let start = JSON_START.len() - 1;
    let mut values = serde_json::Deserializer::from_slice(&event[start..]).into_iter();
    let first = values.next()?.ok()?;
    let rest = event[start + values.byte_offset()..].strip_prefix(b",")?;
    Some((first, [b"{", rest].concat().into()))
}

fn read_msgpack(event: &[u8]) -> Option<(ReadFirstType, Bytes)> {
    let (entries, header) = map_header::read(event)?;
    let mut rest = event[header..].strip_prefix(PACKED_TYPE)?;
    // Only a map with few entries starts so, and no text does.
    if !matches!(rest.first(), Some(0x81..=0x8f)) {
        return None;
    }
    let mut pack = rmp_serde::Deserializer::new(&mut rest);
    pack.set_max_depth(MAX_DEPTH);
    let first = ReadFirstType::deserialize(&mut pack).ok()?;
    let mut written = Vec::with_capacity(rest.len() + 5);
    map_header::write(entries.checked_sub(1)?, &mut written);
    written.extend_from_slice(rest);
    Some((first, written.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, Event};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    struct Said {
        text: String,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
    enum Happened {
        Said { text: String },
        Left,
    }

    const BOTH: [Format; 2] = [Format::MsgPack, Format::Json];

    /// Makes an event leave out these channels.
    fn without(format: Format, event: impl Into<Bytes>, channels: &[&str]) -> Bytes {
        write(format, event.into(), channels.iter().copied()).unwrap()
    }

    fn said() -> Said {
        Said { text: "{\"type\":{}}".into() }
    }

    #[test]
    fn what_was_written_is_taken_out_again() {
        for format in BOTH {
            let plain = Envelope::new(said()).to_wire(format).unwrap();
            for left_out in [&["a!1.2.3"][..], &["jobs", "a!b"], &[&*"x".repeat(99); 40]] {
                let written = without(format, plain.clone(), left_out);
                let found = left_out.iter().map(|&name| name.to_owned()).collect();
                assert_eq!(read(format, written.clone()), (plain.clone(), found));
                // The second write replaces what the first one wrote.
                let again = without(format, written.clone(), &["other"]);
                assert_eq!(read(format, again), (plain.clone(), vec!["other".to_owned()]));
                assert_eq!(without(format, written, &[]), plain);
            }
            assert_eq!(without(format, plain.clone(), &[]), plain);
            assert_eq!(read(format, plain.clone()), (plain, Vec::new()));
        }
    }

    #[test]
    fn the_bytes_are_those_that_the_docs_show() {
        let left_out = ["a!1.2.3"];
        let json = without(Format::Json, &br#"{"type":"said","text":"hi"}"#[..], &left_out);
        assert_eq!(json, br#"{"type":{"except":["a!1.2.3"]},"type":"said","text":"hi"}"#[..]);
        let pack = without(Format::MsgPack, &b"\x82\xa4type\xa4said\xa4text\xa2hi"[..], &left_out);
        assert_eq!(pack, b"\x83\xa4type\x81\xa6except\x91\xa7a!1.2.3\xa4type\xa4said\xa4text\xa2hi"[..]);
    }

    /// As a process of an older version reads it: the last `type` counts, and both are hidden from the event.
    #[test]
    fn a_reader_that_does_not_know_of_it_gets_the_event() {
        for format in BOTH {
            let written = |envelope: Envelope| {
                let plain = envelope.to_wire(format).unwrap();
                Envelope::from_wire(format, without(format, plain, &["a!1.2.3"])).unwrap()
            };
            let read = written(Envelope::new(said()));
            assert_eq!((read.name(), &*read.event::<Said>().unwrap()), ("said", &said()));
            let happened = Happened::Said { text: "hi".into() };
            assert_eq!(*written(Envelope::new(happened.clone())).event::<Happened>().unwrap(), happened);
            assert_eq!(*written(Envelope::new(Happened::Left)).event::<Happened>().unwrap(), Happened::Left);
        }
    }

    #[test]
    fn a_map_may_have_any_number_of_entries() {
        for entries in [14_u32, 15, 16, 65_534, 65_535, 65_536] {
            let mut plain = Vec::new();
            map_header::write(entries, &mut plain);
            plain.extend(b"\xa4type\xa1x");
            for number in 1..entries {
                plain.extend(write_msgpack(&number.to_string()).unwrap());
                plain.push(0xc0);
            }
            let plain = Bytes::from(plain);
            let written = without(Format::MsgPack, plain.clone(), &["c"]);
            assert_eq!(read(Format::MsgPack, written), (plain, vec!["c".to_owned()]), "{entries}");
        }
    }

    #[test]
    fn odd_bytes_stay_as_they_are() {
        let json = [
            &b""[..],
            b"{",
            br#"{"type":{"#,
            br#"{"type":{"except":["a"]}}"#,
            br#"{"type":{"except":["a"]"#,
            br#"{"type":{"except":7},"type":"x"}"#,
            br#"{"type":{"other":[]},"type":"x"}"#,
            br#"{"type":["a"],"type":"x"}"#,
        ];
        let pack = [
            &b""[..],
            b"\x82\xa4type",
            b"\x82\xa4type\x81",
            b"\x82\xa4type\x81\xa6except",
            b"\x82\xa4type\x81\xa6except\xdd\xff\xff\xff\xff",
            b"\x82\xa4type\x81\xa6except\x07\xa4type\xa1x",
            b"\x80\xa4type\x81\xa6except\x90",
            b"\x92\xa4type\x81\xa6except\x90",
        ];
        for (format, odd) in [(Format::Json, json), (Format::MsgPack, pack)] {
            for bytes in odd {
                assert_eq!(read(format, bytes.into()), (Bytes::from(bytes), Vec::new()), "{bytes:?}");
            }
        }
        let newer = br#"{"type":{"except":["a"], "more": [[1]]},"type":"x"}"#;
        assert_eq!(
            read(Format::Json, newer[..].into()),
            (br#"{"type":"x"}"#[..].into(), vec!["a".to_owned()])
        );
    }
}
