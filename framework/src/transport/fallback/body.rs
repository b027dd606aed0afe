//! Reads the bodies that a client posts.
//!
//! They are messages, a close, or the subprotocols that the client offers.

use std::{fmt, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};

use crate::{
    Message,
    close::CloseCode,
    json,
    wire::{
        history::resume::{BadResume, ResumeRequest},
        token::is_token,
    },
};

/// How many messages one request may bring.
///
/// It is bounded because each message costs more memory than the two bytes that an empty one has in the body.
pub(crate) const MOST_MESSAGES: usize = 1024;
/// How many bytes the body of an `open` or a `close` may have.
pub(crate) const SMALL_BODY: usize = 4 << 10;
/// How many subprotocols a client may offer.
const MOST_PROTOCOLS: usize = 32;

/// How large the body of a `send` may be if a message may have `message_size` bytes.
///
/// A message in base64 fits in, and so does one with most escapes.
pub(crate) fn largest(message_size: usize) -> usize {
    message_size.saturating_mul(2).saturating_add(SMALL_BODY)
}

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body does not follow the protocol. The text says why.
    Shape(String),
    /// A message is over the limit.
    TooLarge,
}

/// Reads the messages of a `send`.
pub(crate) fn messages(body: &[u8], message_size: usize) -> Result<Vec<Message>, BodyError> {
    let PostedList(messages) =
        json::read(text(body)?).map_err(|error| BodyError::Shape(error.to_string()))?;
    if messages.iter().any(|message| message.as_bytes().len() > message_size) {
        return Err(BodyError::TooLarge);
    }
    Ok(messages)
}

/// Reads the code and the reason of a `close`. An empty body is a close without a code.
pub(crate) fn close(body: &[u8]) -> Result<(CloseCode, ByteString), BodyError> {
    #[derive(Deserialize)]
    struct CloseBody {
        code: u16,
        #[serde(default)]
        reason: String,
    }
    if body.is_empty() {
        return Ok((CloseCode::NO_STATUS, ByteString::new()));
    }
    let close: CloseBody = object(body)?;
    let code = CloseCode(close.code);
    if !code.can_be_received() {
        return Err(BodyError::Shape(format!("a client cannot close with {}", code.0)));
    }
    if close.reason.len() > 123 {
        return Err(BodyError::Shape("a reason has at most 123 bytes".to_owned()));
    }
    Ok((code, close.reason.into()))
}

/// Reads what the client of an `open` asks to go on with. `None` if it does not want to be told its places.
pub(crate) fn resume(body: &[u8]) -> Result<Option<ResumeRequest>, BodyError> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(body).map_err(|error| BodyError::Shape(error.to_string()))?;
    ResumeRequest::read(text).map_err(|error| match error {
        BadResume::TooLarge => BodyError::TooLarge,
        error => BodyError::Shape(error.to_string()),
    })
}

/// Reads the subprotocols of an `open`, as a header would list them. An empty body offers none.
pub(crate) fn protocols(body: &[u8]) -> Result<Vec<String>, BodyError> {
    #[derive(Deserialize)]
    struct OpenBody {
        #[serde(default)]
        protocols: Vec<String>,
    }
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let OpenBody { protocols } = object(body)?;
    let different = (1..protocols.len()).all(|at| !protocols[..at].contains(&protocols[at]));
    if protocols.len() > MOST_PROTOCOLS || !different || !protocols.iter().all(|name| is_token(name)) {
        let text =
            format!("protocols are at most {MOST_PROTOCOLS} different tokens (RFC 9110, section 5.6.2)");
        return Err(BodyError::Shape(text));
    }
    Ok(protocols)
}

/// Reads an object. The check is needed because serde would also read a struct from a list.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(BodyError::Shape("the body is not an object".to_owned()));
    }
    json::read(text(body)?).map_err(|error| BodyError::Shape(error.to_string()))
}

fn text(body: &[u8]) -> Result<&str, BodyError> {
    std::str::from_utf8(body).map_err(|error| BodyError::Shape(format!("the body is not UTF-8: {error}")))
}

/// A list of at most [`MOST_MESSAGES`] messages.
struct PostedList(Vec<Message>);

impl<'de> Deserialize<'de> for PostedList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PostedVisitor;
        impl<'de> Visitor<'de> for PostedVisitor {
            type Value = PostedList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of messages")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PostedList, A::Error> {
                let mut messages = Vec::new();
                while let Some(Posted(message)) = items.next_element()? {
                    if messages.len() == MOST_MESSAGES {
                        let text = format!("one request brings at most {MOST_MESSAGES} messages");
                        return Err(de::Error::custom(text));
                    }
                    messages.push(message);
                }
                Ok(PostedList(messages))
            }
        }
        deserializer.deserialize_seq(PostedVisitor)
    }
}

/// One message: `"text"` or `{"binary":"…"}`.
struct Posted(Message);

impl<'de> Deserialize<'de> for Posted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either(PhantomData<()>);
        impl<'de> Visitor<'de> for Either {
            type Value = Posted;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or {\"binary\":\"base64\"}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Posted, E> {
                Ok(Posted(Message::Text(text.into())))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Posted, E> {
                Ok(Posted(Message::Text(text.into())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Posted, A::Error> {
                let shape = || de::Error::custom("a binary message is {\"binary\":\"base64\"}");
                let Some((key, value)) = map.next_entry::<String, String>()? else { return Err(shape()) };
                if key != "binary" || map.next_key::<String>()?.is_some() {
                    return Err(shape());
                }
                let bytes = STANDARD.decode(value).map_err(de::Error::custom)?;
                Ok(Posted(Message::Binary(bytes.into())))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_texts_and_bytes() {
        let read = messages(br#"["a\n\u00e9","",{"binary":"/wABAg=="},{"binary":""}]"#, 4).unwrap();
        let bytes = |bytes: &'static [u8]| Message::Binary(bytes.into());
        assert_eq!(
            read,
            [Message::Text("a\né".into()), Message::Text("".into()), bytes(&[0xff, 0, 1, 2]), bytes(&[])]
        );
        assert_eq!(messages(b"[]", 1).unwrap(), []);
        // A browser sends the same text over a WebSocket as U+FFFD.
        assert_eq!(messages(br#"["a\ud83d"]"#, 4).unwrap(), [Message::Text("a\u{fffd}".into())]);
        assert_eq!(messages(br#"["12345"]"#, 4), Err(BodyError::TooLarge));
        assert_eq!(messages(br#"[{"binary":"MTIzNDU="}]"#, 4), Err(BodyError::TooLarge));
    }

    #[test]
    fn other_shapes_are_refused() {
        for bad in [
            "",
            "{}",
            "\"a\"",
            "[1]",
            "[null]",
            "[[]]",
            "[{}]",
            "[\"a\"",
            "[\"a\"]x",
            r#"[{"binary":1}]"#,
            r#"[{"binary":"?"}]"#,
            r#"[{"binary":"AA"}]"#,
            r#"[{"text":"a"}]"#,
            r#"[{"binary":"","x":""}]"#,
        ] {
            assert!(matches!(messages(bad.as_bytes(), 9), Err(BodyError::Shape(_))), "{bad}");
        }
        assert!(messages(b"[\"\xff\"]", 9).is_err(), "no UTF-8");
        let many = format!("[{}\"\"]", "\"\",".repeat(MOST_MESSAGES - 1));
        assert_eq!(messages(many.as_bytes(), 9).unwrap().len(), MOST_MESSAGES);
        let more = format!("[{}\"\"]", "\"\",".repeat(MOST_MESSAGES));
        assert!(messages(more.as_bytes(), 9).is_err());
    }

    #[test]
    fn a_close_has_a_code_that_a_client_may_send() {
        assert_eq!(close(b"").unwrap(), (CloseCode::NO_STATUS, "".into()));
        assert_eq!(close(br#"{"code":1001}"#).unwrap(), (CloseCode::GOING_AWAY, "".into()));
        assert_eq!(close(br#"{"code":4000,"reason":"bye"}"#).unwrap(), (CloseCode(4000), "bye".into()));
        for bad in ["{}", "1000", "[1000]", r#"{"code":1005}"#, r#"{"code":999}"#, r#"{"code":70000}"#] {
            assert!(close(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(close(format!(r#"{{"code":1000,"reason":"{}"}}"#, "x".repeat(124)).as_bytes()).is_err());
    }

    #[test]
    fn protocols_are_different_tokens() {
        assert_eq!(protocols(b"").unwrap(), [""; 0]);
        assert_eq!(protocols(b"{}").unwrap(), [""; 0]);
        assert_eq!(protocols(br#"{"protocols":["a","b.c"]}"#).unwrap(), ["a", "b.c"]);
        for bad in
            [r#"["a"]"#, r#"{"protocols":["a","a"]}"#, r#"{"protocols":["a b"]}"#, r#"{"protocols":["a\n"]}"#]
        {
            assert!(protocols(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
