mod values;

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use super::*;
use crate::Envelope;

/// Implements `Event` by hand, so that these tests do not depend on the derive.
macro_rules! event {
    ($type:ty, [$($name:literal),+], |$self:ident| $which:expr) => {
        impl Event for $type {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn name(&self) -> &'static str {
                let $self = self;
                Self::NAMES[$which]
            }
        }
    };
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ChatMessage {
    user: String,
    text: String,
}
event!(ChatMessage, ["chat.message"], |_s| 0);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tick;
event!(Tick, ["tick"], |_s| 0);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Strict {
    user_name: String,
    #[serde(default)]
    seen_at: Option<u64>,
}
event!(Strict, ["strict"], |_s| 0);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Room {
    #[serde(rename = "whatever")]
    Joined {
        user: String,
    },
    Said(ChatMessage),
    Closed,
}
event!(Room, ["room.joined", "room.said", "room.closed"], |s| match s {
    Room::Joined { .. } => 0,
    Room::Said(_) => 1,
    Room::Closed => 2,
});

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Line(f64, f64),
    Circle { radius: f32 },
    Named(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Drawn {
    shapes: Vec<Shape>,
    by: Option<Ipv4Addr>,
    #[serde(with = "as_bytes")]
    raw: Vec<u8>,
    most: u64,
    least: i64,
}
event!(Drawn, ["drawn"], |_s| 0);

mod as_bytes {
    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        serde::Deserialize::deserialize(from)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}
event!(Flat, ["flat"], |_s| 0);

fn chat() -> ChatMessage {
    ChatMessage { user: "a".into(), text: "hi".into() }
}

fn both_ways<E: Event + std::fmt::Debug + PartialEq>(event: &E) {
    let json = to_json(event).unwrap();
    assert_eq!(from_bytes::<E>(Format::Json, json.as_bytes()).as_ref(), Ok(event), "{json}");
    let pack = to_msgpack(event).unwrap();
    assert_eq!(from_bytes::<E>(Format::MsgPack, &pack).as_ref(), Ok(event), "{pack:02x?}");
    // Each format can hold what the other holds.
    let pack_of_json = transcode(Format::Json, Format::MsgPack, json.as_bytes()).unwrap();
    assert_eq!(from_bytes::<E>(Format::MsgPack, &pack_of_json).as_ref(), Ok(event));
    let json_of_pack = transcode(Format::MsgPack, Format::Json, &pack).unwrap();
    assert_eq!(String::from_utf8(json_of_pack).unwrap(), json);
}

/// `msgpack.packb({"type": "chat.message", "user": "a", "text": "hi"})`.
const PYTHON: &[u8] = b"\x83\xa4type\xacchat.message\xa4user\xa1a\xa4text\xa2hi";

#[test]
fn msgpack_is_what_python_writes_and_reads() {
    assert_eq!(to_msgpack(&chat()).unwrap(), PYTHON);
    assert_eq!(from_bytes(Format::MsgPack, PYTHON), Ok(chat()));
    assert_eq!(to_msgpack(&Tick).unwrap(), b"\x81\xa4type\xa4tick");
}

#[test]
fn json_has_type_first() {
    assert_eq!(to_json(&chat()).unwrap(), r#"{"type":"chat.message","user":"a","text":"hi"}"#);
    assert_eq!(to_json(&Tick).unwrap(), r#"{"type":"tick"}"#);
    assert_eq!(to_json(&Room::Joined { user: "a".into() }).unwrap(), r#"{"type":"room.joined","user":"a"}"#);
    assert_eq!(to_json(&Room::Said(chat())).unwrap(), r#"{"type":"room.said","user":"a","text":"hi"}"#);
    assert_eq!(to_json(&Room::Closed).unwrap(), r#"{"type":"room.closed"}"#);
}

#[test]
fn every_shape_goes_both_ways() {
    both_ways(&chat());
    both_ways(&Tick);
    both_ways(&Strict { user_name: "é\u{0}\"".into(), seen_at: Some(u64::MAX) });
    both_ways(&Room::Joined { user: String::new() });
    both_ways(&Room::Said(chat()));
    both_ways(&Room::Closed);
    both_ways(&Flat { id: 1, rest: [("a".to_owned(), 2), ("b".to_owned(), 3)].into() });
    both_ways(&Drawn {
        shapes: vec![
            Shape::Dot,
            Shape::Line(0.1, -1e300),
            Shape::Circle { radius: 0.1 },
            Shape::Named("x".repeat(300)),
        ],
        by: Some(Ipv4Addr::LOCALHOST),
        raw: vec![0, 255],
        most: u64::MAX,
        least: i64::MIN,
    });
}

#[test]
fn bytes_are_bin_and_addresses_are_text_in_msgpack() {
    let drawn = Drawn { shapes: vec![], by: Some(Ipv4Addr::LOCALHOST), raw: vec![7], most: 0, least: 0 };
    let pack = to_msgpack(&drawn).unwrap();
    assert!(pack.windows(3).any(|part| part == b"\xc4\x01\x07"), "{pack:02x?}");
    assert!(pack.windows(10).any(|part| part == b"\xa9127.0.0.1"), "{pack:02x?}");
}

#[test]
fn type_may_stand_anywhere_and_unknown_fields_are_ignored() {
    let last =
        r#"{"new":[1,{"type":"x"}],"text":"hi","__asgi_channel__":"c","user":"a","type":"chat.message"}"#;
    assert_eq!(from_bytes(Format::Json, last.as_bytes()), Ok(chat()));
    let last = r#"{"user": "a", "type": "room.joined"}"#;
    assert_eq!(from_bytes(Format::Json, last.as_bytes()), Ok(Room::Joined { user: "a".into() }));
    let unit = br#"{"x": 1, "type": "room.closed"}"#;
    assert_eq!(from_bytes(Format::Json, unit), Ok(Room::Closed));
    let pack = b"\x84\xa4user\xa1a\xa4text\xa2hi\xb0__asgi_channel__\xa1c\xa4type\xacchat.message";
    assert_eq!(from_bytes(Format::MsgPack, pack), Ok(chat()));
    // The last `type` counts, as in Python. All readers agree on it.
    let twice = br#"{"type": "tick", "user": "a", "text": "hi", "type": "chat.message"}"#;
    assert_eq!(from_bytes(Format::Json, twice), Ok(chat()));
}

#[test]
fn serde_attributes_keep_their_meaning() {
    let read = |text: &str| from_bytes::<Strict>(Format::Json, text.as_bytes());
    let strict = Strict { user_name: "a".into(), seen_at: None };
    assert_eq!(read(r#"{"__asgi_channel__":"c","userName":"a","type":"strict"}"#), Ok(strict));
    let Err(EventError::Fields { name, reason }) = read(r#"{"type":"strict","userName":"a","more":1}"#)
    else {
        panic!("an unknown field passed");
    };
    assert_eq!(name, "strict");
    assert!(reason.starts_with("unknown field `more`"), "{reason}");
}

#[test]
fn an_error_says_which_event_does_not_fit() {
    for text in [
        r#"{"type":"chat.message","user":1,"text":"hi"}"#,
        r#"{"type":"chat.message","user":"a"}"#,
        r#"{"type":"other","user":"a","text":"hi"}"#,
        r#"{"type":"chat.message","user":"a","user":"b","text":"hi"}"#,
    ] {
        let name = if text.contains("other") { "other" } else { "chat.message" };
        for (format, bytes) in [
            (Format::Json, text.as_bytes().to_vec()),
            (Format::MsgPack, transcode(Format::Json, Format::MsgPack, text.as_bytes()).unwrap()),
        ] {
            match from_bytes::<ChatMessage>(format, &bytes) {
                Err(EventError::Fields { name: found, .. }) => assert_eq!(found, name),
                other => panic!("{text} gave {other:?}"),
            }
        }
    }
}

#[test]
fn malformed_types_are_told_apart() {
    let read = |text: &str| read_type(Format::Json, text.as_bytes());
    assert_eq!(read(r#"{"type":"a.b-c_d"}"#), Ok("a.b-c_d".into()));
    for bad in ["", "_x", ".x", "._", "__class__"] {
        assert_eq!(read(&format!(r#"{{"type":"{bad}"}}"#)), Err(EventError::MalformedType(bad.into())));
    }
    assert_eq!(read(r#"{"type":5}"#), Err(EventError::MalformedType("a number".into())));
    assert_eq!(read(r#"{"type":null}"#), Err(EventError::MalformedType("null".into())));
    assert_eq!(read("{}"), Err(EventError::MissingType));
    assert_eq!(read(r#"{"Type":"x"}"#), Err(EventError::MissingType));
    for bad in ["", "[]", "1", "null", r#""x""#, r#"{"type":"x""#, r#"{"type":"x"} 1"#, r#"{"type":"x",}"#] {
        assert!(matches!(read(bad), Err(EventError::NotAMap(_))), "{bad}");
    }
    assert!(matches!(
        read_type(Format::Json, b"{\"type\":\"x\",\"y\":\"\xff\"}"),
        Err(EventError::NotAMap(_))
    ));
}

#[test]
fn damaged_msgpack_is_refused() {
    let bad: &[&[u8]] = &[
        b"",
        b"\x90",
        b"\xc0",
        b"\x81\xa4type",
        b"\x82\xa4type\xa1x",
        b"\x81\xa4type\xa1x\x00",
        b"\x81\xa4type\xa1x\xd9",
        b"\x82\xa4type\xa1x\x05\x05",
        b"\x82\xa4type\xa1x\xa1y\xd4\x01\x00",
        b"\xdf\xff\xff\xff\xff\xa4type\xa1x",
        b"\x82\xa4type\xa1x\xa1y\xdd\xff\xff\xff\xff",
        b"\x82\xa4type\xa1x\xa1y\xc6\xff\xff\xff\xff",
        b"\x81\xa4type\xa1\xff\xc1",
    ];
    for bytes in bad {
        let found = read_type(Format::MsgPack, bytes);
        assert!(matches!(found, Err(EventError::NotAMap(_))), "{bytes:02x?} gave {found:?}");
    }
    // A valid event, cut at each place.
    for end in 0..PYTHON.len() {
        assert!(read_type(Format::MsgPack, &PYTHON[..end]).is_err());
    }
}

/// Also bytes that begin a value and do not end it.
#[test]
fn nothing_may_stand_behind_a_map_in_msgpack() {
    assert!(Envelope::from_wire(Format::MsgPack, PYTHON.to_vec()).is_ok());
    let behind = (0..=255).flat_map(|first| (0..=255).map(move |second| vec![first, second]));
    for behind in (0..=255).map(|byte| vec![byte]).chain(behind) {
        let bytes = [PYTHON, &behind].concat();
        let found = Envelope::from_wire(Format::MsgPack, bytes);
        assert!(matches!(found, Err(EventError::NotAMap(_))), "{behind:02x?}");
    }
}

/// Python writes such JSON, and reads it.
#[test]
fn one_odd_value_does_not_lose_an_event_in_json() {
    let python = r#"{"type":"chat.message","user":"a\ud83d","text":"b","score":NaN}"#;
    let envelope = Envelope::from_json(python).unwrap();
    let message = envelope.event::<ChatMessage>().unwrap();
    assert_eq!((message.user.as_str(), message.text.as_str()), ("a\u{fffd}", "b"));
    let json = r#"{"type":"chat.message","user":"a\ufffd","text":"b","score":null}"#;
    assert_eq!(envelope.to_json().unwrap(), json);
    assert!(envelope.to_wire(Format::MsgPack).is_ok());
    assert!(Envelope::from_json(r#"{"type":"chat.message","user":"a\ud83d""#).is_err());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Box<Tree>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Grown {
    tree: Tree,
}
event!(Grown, ["grown"], |_s| 0);

#[test]
fn depth_is_bounded_before_the_stack_is() {
    fn list(format: Format, depth: usize) -> Vec<u8> {
        match format {
            Format::Json => {
                format!(r#"{{"type":"x","y":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes()
            }
            Format::MsgPack => {
                let mut bytes = b"\x82\xa4type\xa1x\xa1y".to_vec();
                bytes.extend(std::iter::repeat_n(0x91, depth));
                bytes.push(0xc0);
                bytes
            }
        }
    }
    for format in [Format::Json, Format::MsgPack] {
        assert_eq!(read_type(format, &list(format, 100)).unwrap(), "x");
        for depth in [130, 1_000_000] {
            let bytes = list(format, depth);
            assert!(matches!(read_type(format, &bytes), Err(EventError::NotAMap(_))));
            assert!(transcode(format, Format::Json, &bytes).is_err());
        }
    }
    // rmp-serde does not count the levels of an enum. `read_type` does it first.
    let mut tree = b"\x82\xa4type\xa5grown\xa4tree".to_vec();
    tree.extend(b"\x81\xa4Node".repeat(1_000_000));
    tree.extend(b"\xa4Leaf");
    assert!(matches!(from_bytes::<Grown>(Format::MsgPack, &tree), Err(EventError::NotAMap(_))));
    assert!(Envelope::from_wire(Format::MsgPack, tree).is_err());
    both_ways(&Grown { tree: Tree::Node(Box::new(Tree::Leaf)) });
}

#[test]
fn a_million_bytes_work() {
    both_ways(&ChatMessage { user: "é".repeat(500_000), text: "\n".repeat(1_000_000) });
}

#[test]
fn an_event_without_a_wire_form_is_unwritable() {
    #[derive(Clone, Serialize, Deserialize)]
    struct Number(u8);
    event!(Number, ["number"], |_s| 0);

    #[derive(Clone, Serialize, Deserialize)]
    struct Taken {
        #[serde(rename = "__asgi_channel__")]
        channel: u8,
    }
    event!(Taken, ["taken"], |_s| 0);

    #[derive(Clone, Serialize, Deserialize)]
    enum Outer {
        Inner(Room),
    }
    event!(Outer, ["outer"], |_s| 0);

    fn refused<E: Event>(event: &E) -> bool {
        matches!(to_json(event), Err(EventError::Unwritable { name, .. }) if name == event.name())
            && matches!(to_msgpack(event), Err(EventError::Unwritable { .. }))
    }
    assert!(refused(&Number(1)));
    assert!(refused(&Taken { channel: 1 }));
    assert!(refused(&Outer::Inner(Room::Closed)));
    // A flattened map is data. Its `type` must not become the event's own.
    assert!(refused(&Flat { id: 1, rest: [("type".to_owned(), 2)].into() }));
}

#[test]
fn transcoding_keeps_order_and_numbers() {
    let text =
        r#"{"z":[18446744073709551615,-9223372036854775808,0.1,1e+308,true,null],"type":"x","a":{"b":""}}"#;
    let pack = transcode(Format::Json, Format::MsgPack, text.as_bytes()).unwrap();
    let back = transcode(Format::MsgPack, Format::Json, &pack).unwrap();
    assert_eq!(String::from_utf8(back).unwrap(), text);
    // Exact to the last bit, as serde_json is with its feature `float_roundtrip`.
    let exact: f64 = "2.2250738585072011e-308".parse().unwrap();
    let text = r#"{"type":"x","y":9007199254740993.0,"z":2.2250738585072011e-308}"#;
    let pack = transcode(Format::Json, Format::MsgPack, text.as_bytes()).unwrap();
    assert!(pack.windows(9).any(|part| part == [&[0xcb][..], &exact.to_be_bytes()].concat()));
    // Python's bytes become a list.
    let bytes = b"\x82\xa4type\xa1x\xa1y\xc4\x02\x00\xff";
    assert_eq!(transcode(Format::MsgPack, Format::Json, bytes).unwrap(), br#"{"type":"x","y":[0,255]}"#);
}

#[test]
fn an_envelope_is_shared_or_read() {
    let typed = Envelope::new(chat());
    assert_eq!(typed.name(), "chat.message");
    assert_eq!(*typed.event::<ChatMessage>().unwrap(), chat());
    assert!(std::sync::Arc::ptr_eq(&typed.event::<ChatMessage>().unwrap(), &typed.event().unwrap()));

    // Another type with the same name is read from the wire form.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct JustText {
        text: String,
    }
    event!(JustText, ["chat.message"], |_s| 0);
    assert_eq!(*typed.event::<JustText>().unwrap(), JustText { text: "hi".into() });
    assert!(matches!(typed.event::<Tick>(), Err(EventError::Fields { .. })));

    let wire = Envelope::from_wire(Format::MsgPack, PYTHON).unwrap();
    assert_eq!(*wire.event::<ChatMessage>().unwrap(), chat());
    assert_eq!(&wire.to_wire(Format::MsgPack).unwrap()[..], PYTHON);
    assert_eq!(wire.to_json().unwrap(), typed.to_json().unwrap());
    assert!(Envelope::from_json(r#"{"type":"_x"}"#).is_err());
}

#[test]
fn a_value_a_reference_and_an_envelope_can_be_sent() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, crate::Event)]
    struct Said {
        text: String,
    }
    fn sent(event: impl crate::IntoEnvelope) -> std::sync::Arc<Said> {
        let envelope: Envelope = event.into();
        envelope.event().unwrap()
    }
    let said = Said { text: "hi".into() };
    assert_eq!(*sent(&said), said);
    let envelope = Envelope::from(&said);
    assert!(std::sync::Arc::ptr_eq(&sent(&envelope), &sent(envelope.clone())));
    assert!(std::sync::Arc::ptr_eq(&sent(&envelope), &sent(envelope)));
    assert_eq!(sent(said.clone()).text, said.text);
}
