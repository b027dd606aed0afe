//! JSON that other languages write and that is not JSON: half a character, and numbers that are not finite.
//!
//! Python writes `NaN` and `Infinity`. Python and JavaScript write half of a surrogate pair as `"\ud83d"`, for example
//! if a text was cut in the middle of an emoji. Their own readers take both.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Reads JSON. If the text is not JSON, it is read once more as [`repaired`].
///
/// # Errors
/// The error of the first reading.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| match repaired(text) {
        Cow::Owned(repaired) if error.is_syntax() => serde_json::from_str(&repaired).map_err(|_| error),
        _ => Err(error),
    })
}

/// The text with U+FFFD for each half of a surrogate pair, and `null` for numbers that are not finite.
///
/// It is borrowed if nothing has to be replaced. Text that is not JSON either way stays as it is.
pub(crate) fn repaired(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut done, mut at) = (0, 0);
    let mut in_text = false;
    while let Some(byte) = text.as_bytes().get(at) {
        let rest = &text[at..];
        let (length, replacement) = match (in_text, byte) {
            (_, b'"') => {
                in_text = !in_text;
                (1, None)
            }
            (true, b'\\') => match half(rest) {
                Half::Character(length) => (length, None),
                Half::Surrogate => (6, Some("\\ufffd")),
            },
            (false, b'N' | b'I' | b'-') => {
                match ["NaN", "Infinity", "-Infinity"].iter().find(|name| rest.starts_with(**name)) {
                    Some(name) => (name.len(), Some("null")),
                    None => (1, None),
                }
            }
            _ => (1, None),
        };
        if let Some(replacement) = replacement {
            out.push_str(&text[done..at]);
            out.push_str(replacement);
            done = at + length;
        }
        at += length;
        // The next byte that may begin something. All of them are ASCII, so this never ends within a character.
        let skipped = text.as_bytes().get(at..).unwrap_or_default();
        at += skipped
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | b'N' | b'I' | b'-'))
            .unwrap_or(skipped.len());
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

enum Half {
    /// An escape, or a pair of them, that stands for a character. This is how long it is.
    Character(usize),
    /// `\uXXXX`, which is half of a pair.
    Surrogate,
}

/// What the escape at the start of `text` is.
fn half(text: &str) -> Half {
    let unit = |text: &str| -> Option<u16> {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    match unit(text) {
        Some(0xd800..=0xdbff) => match text.get(6..).and_then(unit) {
            Some(0xdc00..=0xdfff) => Half::Character(12),
            _ => Half::Surrogate,
        },
        Some(0xdc00..=0xdfff) => Half::Surrogate,
        Some(_) => Half::Character(6),
        // Also an escaped quote or backslash. A character of several bytes is not an escape: only the backslash is passed.
        None if text.as_bytes().get(1).is_some_and(u8::is_ascii) => Half::Character(2),
        None => Half::Character(1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn halves_of_pairs_and_numbers_that_are_not_finite_are_replaced() {
        for (text, expected) in [
            (r#""\ud83d""#, json!("\u{fffd}")),
            (r#""a\uDE00b""#, json!("a\u{fffd}b")),
            (r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}\u{1f600}")),
            (r#""\ud83d\u0041""#, json!("\u{fffd}A")),
            (r#""\ud83d\n\\ud83d""#, json!("\u{fffd}\n\\ud83d")),
            (
                r#"["\ud83d","\"NaN\\",NaN,-Infinity,Infinity,-1]"#,
                json!(["\u{fffd}", "\"NaN\\", null, null, null, -1]),
            ),
            (r#"{"NaN\udc00":{"é":NaN}}"#, json!({"NaN\u{fffd}": {"é": null}})),
        ] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            assert_eq!(read::<Value>(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn json_stays_as_it_is() {
        for text in
            [r#"{"a":["\ud83d\ude00","\\","\"","é",-1.5e3,true,null]}"#, "", "1", r#""NaN Infinity -""#]
        {
            assert!(matches!(repaired(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_either_way_keeps_its_first_error() {
        for text in
            ["NaN NaN", r#""\ud83d"#, "[NaN", "Nan", "-NaN", "\"\\é", "\"\\", "\"\\u12", "\"\\ud83d\\"]
        {
            let strict = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(read::<Value>(text).unwrap_err().to_string(), strict.to_string(), "{text}");
        }
        assert!(read::<u8>("\"a\"").unwrap_err().is_data());
    }
}
