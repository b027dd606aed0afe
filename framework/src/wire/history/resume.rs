//! The request of a client to go on where it was.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::json;

/// How many bytes a request may have.
pub(crate) const LARGEST: usize = 64 << 10;
/// How many logs a request may name.
pub(crate) const MOST_LOGS: usize = 1_000;
/// How many former connections a request may name.
pub(crate) const MOST_WAS: usize = 8;

/// What a client was, and how far it has read each log.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ResumeRequest {
    /// The names of its former connections, as it was given them.
    pub(crate) was: Vec<String>,
    pub(crate) logs: Vec<Named>,
}

/// A place that a client names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    /// The proof of where the client may begin to read, as it was given it.
    pub(crate) token: String,
    pub(crate) offset: u64,
    /// 24 bits.
    pub(crate) tag: u32,
    /// Up to when it knows the events that are in no log. 0 if it names no time.
    pub(crate) foreign: f64,
}

/// Why a request was refused.
#[derive(Debug)]
pub(crate) enum BadResume {
    /// It is not JSON, or has another shape.
    Json(serde_json::Error),
    /// It has more than [`LARGEST`] bytes.
    TooLarge,
    /// It names more than [`MOST_LOGS`] logs.
    TooManyLogs,
    /// It names more than [`MOST_WAS`] former connections.
    TooManyWas,
}

impl fmt::Display for BadResume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "a request to resume is not as the protocol says: {error}"),
            Self::TooLarge => write!(f, "a request to resume has at most {LARGEST} bytes"),
            Self::TooManyLogs => write!(f, "a request to resume names at most {MOST_LOGS} logs"),
            Self::TooManyWas => write!(f, "a request to resume names at most {MOST_WAS} connections"),
        }
    }
}

impl std::error::Error for BadResume {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::TooLarge | Self::TooManyLogs | Self::TooManyWas => None,
        }
    }
}

impl ResumeRequest {
    /// Reads the member `resume` of an object: of a control frame, or of the body of an `open`.
    ///
    /// `None` if there is no such member. Other members are ignored.
    ///
    /// # Errors
    /// [`BadResume`] if the text is too large, names too much, or has another shape.
    pub(crate) fn read(text: &str) -> Result<Option<Self>, BadResume> {
        if text.len() > LARGEST {
            return Err(BadResume::TooLarge);
        }
        let Object(Frame { resume }) = json::read(text).map_err(BadResume::Json)?;
        let Some(Object(Fields { was, logs })) = resume else { return Ok(None) };
        if logs.has_more {
            return Err(BadResume::TooManyLogs);
        }
        if was.has_more {
            return Err(BadResume::TooManyWas);
        }
        Ok(Some(Self { was: was.items, logs: logs.items }))
    }
}

/// Whether a control frame asks for a sign of life.
pub(crate) fn is_ping(text: &str) -> bool {
    json::read(text).is_ok_and(|Object(Ping { ping })| ping)
}

#[derive(Deserialize)]
struct Ping {
    #[serde(default)]
    ping: bool,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    resume: Option<Object<Fields>>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    was: Few<String, MOST_WAS>,
    #[serde(default)]
    logs: Few<Named, MOST_LOGS>,
}

/// An object. Without it serde would also read a struct from a list.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// The first items of a list, at most so many.
struct Few<T, const MOST: usize> {
    items: Vec<T>,
    /// Whether there were more, which were not kept.
    has_more: bool,
}

impl<T, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        Self { items: Vec::new(), has_more: false }
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for FewVisitor<T, MOST> {
            type Value = Few<T, MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Few::default();
                while few.items.len() < MOST {
                    match list.next_element()? {
                        Some(item) => few.items.push(item),
                        None => return Ok(few),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    few.has_more = true;
                }
                Ok(few)
            }
        }
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Named {
    /// Reads `["<token>",1842,"0a1b2c"]`, with the time of the newest event that is in no log behind it, if there is one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor;
        impl<'de> Visitor<'de> for NamedVisitor {
            type Value = Named;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token, an offset and a tag of six hexadecimal digits")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Named, A::Error> {
                let token = list.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let offset = list.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let Digits(tag) = list.next_element()?.ok_or_else(|| de::Error::invalid_length(2, &self))?;
                let foreign: Option<Option<f64>> = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Named { token, offset, tag, foreign: foreign.flatten().unwrap_or(0.0) })
            }
        }
        deserializer.deserialize_seq(NamedVisitor)
    }
}

/// The number that six hexadecimal digits stand for.
struct Digits(u32);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DigitsVisitor;
        impl Visitor<'_> for DigitsVisitor {
            type Value = Digits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("six hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digits, E> {
                let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let tag = u32::from_str_radix(text, 16).ok();
                let tag = tag.filter(|_| text.len() == 6 && text.bytes().all(is_hex));
                tag.map(Digits).ok_or_else(|| E::custom("a tag has six hexadecimal digits, in lower case"))
            }
        }
        deserializer.deserialize_str(DigitsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<ResumeRequest>, BadResume> {
        ResumeRequest::read(text)
    }

    fn named(token: &str, offset: u64, tag: u32, foreign: f64) -> Named {
        Named { token: token.to_owned(), offset, tag, foreign }
    }

    #[test]
    fn a_request_names_connections_and_places() {
        let text = r#"{"resume":{"was":["a~1","b~2"],"logs":[["AV",1842,"0a1b2c"],["AW",0,"000000",1764451200.25]]}}"#;
        let request = read(text).unwrap().unwrap();
        assert_eq!(request.was, ["a~1", "b~2"]);
        assert_eq!(request.logs, [named("AV", 1_842, 0x0a_1b2c, 0.0), named("AW", 0, 0, 1_764_451_200.25)]);
    }

    #[test]
    fn what_is_left_out_is_empty_and_what_is_unknown_is_ignored() {
        let nothing = ResumeRequest::default();
        for text in [
            r#"{"resume":{}}"#,
            r#"{"resume":{"was":[],"logs":[],"later":{"a":[1]}},"protocols":["a"]}"#,
            "\n {\"a\":\"\\ud83d\",\"resume\":{ }} ",
        ] {
            assert_eq!(read(text).unwrap().as_ref(), Some(&nothing), "{text}");
        }
        for text in ["{}", r#"{"resume":null}"#, r#"{"later":1}"#] {
            assert_eq!(read(text).unwrap(), None, "{text}");
        }
        let more = r#"{"resume":{"logs":[["A",18446744073709551615,"ffffff",null,"later",[]]]}}"#;
        assert_eq!(read(more).unwrap().unwrap().logs, [named("A", u64::MAX, 0xff_ffff, 0.0)]);
    }

    #[test]
    fn a_ping_is_true() {
        for (text, asks) in [
            (r#"{"ping":true}"#, true),
            (r#"{"later":[1], "ping": true}"#, true),
            (r#"{"ping":false}"#, false),
            (r#"{"ping":1}"#, false),
            ("{}", false),
            ("[true]", false),
            ("", false),
        ] {
            assert_eq!(is_ping(text), asks, "{text}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "{",
            "null",
            "[]",
            "[{}]",
            r#"{"resume":[]}"#,
            r#"{"resume":[["a"],[]]}"#,
            r#"{"resume":true}"#,
            r#"{"resume":{"was":"a"}}"#,
            r#"{"resume":{"was":[1]}}"#,
            r#"{"resume":{"was":{}}}"#,
            r#"{"resume":{"logs":null}}"#,
            r#"{"resume":{"logs":[[]]}}"#,
            r#"{"resume":{"logs":[["A"]]}}"#,
            r#"{"resume":{"logs":[["A",1]]}}"#,
            r#"{"resume":{"logs":[{"token":"A"}]}}"#,
            r#"{"resume":{"logs":[["A",-1,"0a1b2c"]]}}"#,
            r#"{"resume":{"logs":[["A",1.5,"0a1b2c"]]}}"#,
            r#"{"resume":{"logs":[["A",18446744073709551616,"0a1b2c"]]}}"#,
            r#"{"resume":{"logs":[["A",1,"0a1b2"]]}}"#,
            r#"{"resume":{"logs":[["A",1,"0A1B2C"]]}}"#,
            r#"{"resume":{"logs":[["A",1,"+a1b2c"]]}}"#,
            r#"{"resume":{"logs":[["A",1,"00a1b2c"]]}}"#,
            r#"{"resume":{"logs":[["A",1,660268]]}}"#,
            r#"{"resume":{"logs":[["A",1,"0a1b2c","now"]]}}"#,
            r#"{"resume":{"logs":[["A",1,"0a1b2c",1e400]]}}"#,
            r#"{"resume":{"was":[],"was":[]}}"#,
            r#"{"resume":{}} {}"#,
        ] {
            assert!(matches!(read(text), Err(BadResume::Json(_))), "{text}");
        }
        let deep = format!(r#"{{"later":{}}}"#, "[".repeat(10_000));
        assert!(matches!(read(&deep), Err(BadResume::Json(_))));
    }

    #[test]
    fn each_bound_has_its_error() {
        let request = |was: usize, logs: usize| {
            let was = vec![r#""a""#; was].join(",");
            let logs = vec![r#"["A",1,"0a1b2c"]"#; logs].join(",");
            format!(r#"{{"resume":{{"was":[{was}],"logs":[{logs}]}}}}"#)
        };
        let most = read(&request(MOST_WAS, MOST_LOGS)).unwrap().unwrap();
        assert_eq!((most.was.len(), most.logs.len()), (MOST_WAS, MOST_LOGS));
        assert!(matches!(read(&request(MOST_WAS + 1, 1)), Err(BadResume::TooManyWas)));
        assert!(matches!(read(&request(1, MOST_LOGS + 1)), Err(BadResume::TooManyLogs)));
        let padded = |length| request(0, 0) + &" ".repeat(length - request(0, 0).len());
        assert!(read(&padded(LARGEST)).is_ok());
        assert!(matches!(read(&padded(LARGEST + 1)), Err(BadResume::TooLarge)));
        // What stands behind the bound must be JSON still.
        let cut = request(0, MOST_LOGS + 1).replace("]]}}", "");
        assert!(matches!(read(&cut), Err(BadResume::Json(_))));
    }
}
