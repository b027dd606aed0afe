//! Messages for fallback clients: each is a fragment of JSON, and a batch has those that are due.
//!
//! The members of a group share the fragments.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::history::{At, Head, down::Watermark};
use crate::{Message, Outgoing, close::CloseCode, wire::websocket::encode::cut_reason};

/// The first byte of a close. No fragment of a message begins with it.
const CLOSE: u8 = b',';

/// Encodes a message as a fragment: `"text"` or `{"binary":"…"}`.
pub(crate) fn encode(frame: &Outgoing) -> Bytes {
    match frame.message() {
        // A text can always be written as JSON.
        Message::Text(text) => serde_json::to_vec(&**text).unwrap_or_default().into(),
        Message::Binary(bytes) => binary(bytes, "\"}"),
    }
}

/// Encodes a message with its head: `{"text":"…","at":[12,1843,"0a1b2d"]}`, or `"foreign":[12,1764451200.25]` in place
/// of `at`, or `binary` in place of `text`. A plain one is encoded as [`encode`] does.
pub(crate) fn encode_headed(head: Head, frame: &Outgoing) -> Bytes {
    let head = match head {
        Head::Foreign { alias, watermark } => format!(",\"foreign\":[{alias},{}]}}", Watermark(watermark)),
        Head::Logged(at) => format!(",\"at\":{at}}}"),
        Head::Plain => return encode(frame),
    };
    match frame.message() {
        Message::Text(text) => {
            let start = b"{\"text\":";
            let mut out = Vec::with_capacity(start.len() + text.len() + 2 + head.len());
            out.extend_from_slice(start);
            // A text can always be written as JSON.
            let _ = serde_json::to_writer(&mut out, &**text);
            out.extend_from_slice(head.as_bytes());
            out.into()
        }
        Message::Binary(bytes) => binary(bytes, &["\"", &head].concat()),
    }
}

/// Encodes the mark of an event that is done: `{"at":[12,1843,"0a1b2d"]}`.
pub(crate) fn encode_mark(at: At) -> Bytes {
    format!("{{\"at\":{}}}", At { part: None, ..at }).into()
}

/// Encodes a control frame: `{"control":{…}}`. `json` is an object without line breaks.
pub(crate) fn encode_control(json: &str) -> Bytes {
    ["{\"control\":", json, "}"].concat().into()
}

/// Bytes in base64, and what comes behind them.
fn binary(bytes: &[u8], tail: &str) -> Bytes {
    let head = "{\"binary\":\"";
    let length = bytes.len().div_ceil(3) * 4;
    let mut out = String::with_capacity(head.len() + length + tail.len());
    out.push_str(head);
    STANDARD.encode_string(bytes, &mut out);
    out.push_str(tail);
    out.into()
}

/// Encodes the close, which ends the last batch.
///
/// Any code can stand in it, even one that a close frame of a WebSocket must not carry.
pub(crate) fn encode_close(code: CloseCode, reason: &str) -> Bytes {
    let reason = serde_json::to_string(cut_reason(reason)).unwrap_or_default();
    format!(",\"close\":{{\"code\":{},\"reason\":{reason}}}", code.0).into()
}

/// Collects fragments, and makes one batch of them.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    frames: Vec<Bytes>,
    length: usize,
}

impl Builder {
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.length += frame.len() + 1;
        self.frames.push(frame);
    }

    /// The batch, and whether it is the last one. `None` if it is empty.
    pub(crate) fn finish(self, number: u64) -> Option<(Bytes, bool)> {
        if self.frames.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.length + 64);
        out.extend_from_slice(format!("{{\"batch\":{number},\"messages\":[").as_bytes());
        let mut close = None;
        for (at, frame) in self.frames.iter().enumerate() {
            if frame.first() == Some(&CLOSE) {
                close = Some(frame);
                break;
            }
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(frame);
        }
        out.push(b']');
        if let Some(close) = close {
            out.extend_from_slice(close);
        }
        out.push(b'}');
        Some((out.into(), close.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(frames: &[Bytes]) -> Option<(String, bool)> {
        let mut builder = Builder::default();
        frames.iter().for_each(|frame| builder.push(frame.clone()));
        let (json, last) = builder.finish(7)?;
        Some((String::from_utf8(json.to_vec()).unwrap(), last))
    }

    #[test]
    fn a_batch_has_texts_and_bytes_and_ends_with_the_close() {
        let text = encode(&Outgoing::text("a \"b\"\n\u{1f600}"));
        let bytes = encode(&Outgoing::binary(vec![0xff, 0, 1, 2]));
        let close = encode_close(CloseCode(4001), "b\"ye");
        let (json, last) = batch(&[text.clone(), bytes]).unwrap();
        assert_eq!(json, r#"{"batch":7,"messages":["a \"b\"\n😀",{"binary":"/wABAg=="}]}"#);
        assert!(!last);
        let (json, last) = batch(&[text, close.clone()]).unwrap();
        assert!(json.ends_with(r#"😀"],"close":{"code":4001,"reason":"b\"ye"}}"#), "{json}");
        assert!(last);
        assert_eq!(
            batch(&[close]).unwrap().0,
            r#"{"batch":7,"messages":[],"close":{"code":4001,"reason":"b\"ye"}}"#
        );
        assert_eq!(batch(&[]), None);
    }

    #[test]
    fn no_fragment_has_a_line_end_or_looks_like_a_close() {
        let at = At { alias: 12, offset: 1_843, tag: 0xa_1b2d, part: None };
        for frame in [
            Outgoing::text("\r\n,"),
            Outgoing::text(""),
            Outgoing::binary(vec![]),
            Outgoing::text(",\"close\""),
        ] {
            let headed = encode_headed(Head::Logged(at), &frame);
            for fragment in [encode(&frame), headed, encode_mark(at), encode_control("{}")] {
                assert!(!fragment.contains(&b'\n') && !fragment.contains(&b'\r'));
                assert_ne!(fragment[0], CLOSE);
            }
        }
    }

    #[test]
    fn a_marked_fragment_says_where_the_message_stands() {
        let at = |part| At { alias: 12, offset: 1_843, tag: 0xa_1b2d, part: std::num::NonZeroU32::new(part) };
        let foreign = Head::Foreign { alias: 3, watermark: 1_764_451_200.25 };
        let (text, bytes) = (Outgoing::text("a \"b\"\n"), Outgoing::binary(vec![0xff, 0, 1, 2]));
        for (head, as_text, as_bytes) in [
            (Head::Plain, r#""a \"b\"\n""#, r#"{"binary":"/wABAg=="}"#),
            (
                Head::Logged(at(0)),
                r#"{"text":"a \"b\"\n","at":[12,1843,"0a1b2d"]}"#,
                r#"{"binary":"/wABAg==","at":[12,1843,"0a1b2d"]}"#,
            ),
            (
                Head::Logged(at(2)),
                r#"{"text":"a \"b\"\n","at":[12,1843,"0a1b2d",2]}"#,
                r#"{"binary":"/wABAg==","at":[12,1843,"0a1b2d",2]}"#,
            ),
            (
                foreign,
                r#"{"text":"a \"b\"\n","foreign":[3,1764451200.25]}"#,
                r#"{"binary":"/wABAg==","foreign":[3,1764451200.25]}"#,
            ),
        ] {
            assert_eq!(encode_headed(head, &text), as_text);
            assert_eq!(encode_headed(head, &bytes), as_bytes);
        }
        assert_eq!(encode_mark(at(2)), r#"{"at":[12,1843,"0a1b2d"]}"#);
        assert_eq!(encode_control(r#"{"left":[]}"#), r#"{"control":{"left":[]}}"#);
    }
}
