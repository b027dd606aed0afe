//! What a value becomes in each format.

use super::*;

/// An event that was written in one format, passed on in the other, and read.
fn passed_on<E: Event>(event: &E, first: Format, then: Format) -> E {
    let bytes = transcode(first, then, &write(event, first).unwrap()).unwrap();
    from_bytes(then, &bytes).unwrap()
}

/// The rows of the table in `docs/events.md`.
#[test]
fn a_value_reads_the_same_from_both_formats() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Color {
        Red,
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, crate::Event)]
    struct Values {
        numbers: (i8, u64, i64, u128, i128),
        floats: (f32, f64),
        text: (char, String),
        flag: bool,
        nothing: ((), Option<u8>, Option<u8>),
        lists: (Vec<u8>, [u8; 2], std::collections::BTreeSet<u8>),
        by_number: std::collections::BTreeMap<u32, i8>,
        by_flag: std::collections::BTreeMap<bool, u8>,
        by_letter: std::collections::BTreeMap<char, u8>,
        by_variant: std::collections::BTreeMap<Color, Vec<std::collections::BTreeMap<i64, u8>>>,
        address: std::net::IpAddr,
        time: std::time::Duration,
        variant: Result<u8, String>,
    }
    let event = Values {
        numbers: (-1, u64::MAX, i64::MIN, u64::MAX.into(), i64::MIN.into()),
        floats: (0.1, 1e300),
        text: ('é', "𝄞\n".into()),
        flag: true,
        nothing: ((), None, Some(0)),
        lists: (vec![1, 2], [3, 4], [5].into()),
        by_number: [(7, -1), (u32::MAX, 1)].into(),
        by_flag: [(true, 1)].into(),
        by_letter: [('x', 1)].into(),
        by_variant: [(Color::Red, vec![[(-5, 5)].into()])].into(),
        address: [127, 0, 0, 1].into(),
        time: std::time::Duration::from_millis(1_500),
        variant: Err("no".into()),
    };
    let formats = [Format::Json, Format::MsgPack];
    for first in formats {
        for then in formats {
            assert_eq!(passed_on(&event, first, then), event, "{first:?} → {then:?}");
        }
    }
    // Both write the same map.
    let pack = to_msgpack(&event).unwrap();
    let json = transcode(Format::MsgPack, Format::Json, &pack).unwrap();
    assert_eq!(String::from_utf8(json).unwrap(), to_json(&event).unwrap());
}

#[test]
fn a_value_that_one_format_cannot_hold_is_refused_in_both() {
    #[derive(Clone, Serialize, Deserialize, crate::Event)]
    struct Float {
        values: Vec<f64>,
    }
    #[derive(Clone, Serialize, Deserialize, crate::Event)]
    struct Large {
        value: Option<u128>,
    }
    #[derive(Clone, Serialize, Deserialize, crate::Event)]
    struct Keys {
        map: std::collections::BTreeMap<Vec<u8>, u8>,
    }
    fn reason<E: Event>(event: &E) -> String {
        let [json, pack] =
            [Format::Json, Format::MsgPack].map(|format| write(event, format).unwrap_err().to_string());
        assert_eq!(json, pack);
        json
    }
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let text = reason(&Float { values: vec![1.0, value] });
        assert!(text.contains("NaN and infinity have no form in JSON"), "{text}");
        assert!(
            text.contains(r#"in the field "values""#) && text.contains("tests::") && text.contains("::Float"),
            "{text}"
        );
    }
    assert!(reason(&Large { value: Some(1 << 64) }).contains("a number of more than 64 bits"));
    assert!(reason(&Keys { map: [(vec![1], 1)].into() }).contains("the key of a map must be a text"));
}
