//! Checks UTF-8 while it arrives.

use super::ProtocolError;

/// Checks the bytes behind the first `valid` ones, and returns how many are valid now.
///
/// The first `valid` bytes are known to be whole characters. At most three bytes, those of an unfinished character,
/// are checked again by the next call. Bytes that no further byte can make valid are refused at once, as RFC 6455,
/// section 8.1, and the Autobahn cases 6.4.* demand.
pub(super) fn check(text: &[u8], valid: usize) -> Result<usize, ProtocolError> {
    match std::str::from_utf8(text.get(valid..).unwrap_or_default()) {
        Ok(rest) => Ok(valid + rest.len()),
        // `None`: the text ends inside a character that may still become valid.
        Err(error) if error.error_len().is_none() => Ok(valid + error.valid_up_to()),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a text byte by byte. Returns after how many bytes it was refused.
    fn refused_after(text: &[u8]) -> Option<usize> {
        let mut valid = 0;
        for end in 1..=text.len() {
            match check(&text[..end], valid) {
                Ok(length) => valid = length,
                Err(_) => return Some(end),
            }
            assert!(end - valid <= 3, "an unfinished character has at most three bytes");
        }
        None
    }

    #[test]
    fn characters_of_each_length_pass_byte_by_byte() {
        for text in ["", "a", "é", "€", "𝄞", "κόσμε", "a\u{0}\u{10ffff}\u{d7ff}\u{e000}"] {
            assert_eq!(refused_after(text.as_bytes()), None, "{text:?}");
            assert_eq!(check(text.as_bytes(), 0), Ok(text.len()));
        }
    }

    #[test]
    fn an_invalid_byte_is_refused_when_it_arrives() {
        assert_eq!(refused_after(b"ok\xff"), Some(3));
        assert_eq!(refused_after(b"\xc0\xaf"), Some(1), "overlong");
        assert_eq!(refused_after(b"\xe0\x80\xaf"), Some(2), "overlong");
        assert_eq!(refused_after(b"\xed\xa0\x80"), Some(2), "a surrogate");
        assert_eq!(refused_after(b"\xf4\x90\x80\x80"), Some(2), "above U+10FFFF (Autobahn 6.4.*)");
        assert_eq!(refused_after(b"\xce\xbaa\x80"), Some(4), "a lone continuation byte");
    }

    #[test]
    fn an_unfinished_character_waits() {
        assert_eq!(check(b"a\xf0\x9d\x84", 0), Ok(1));
        assert_eq!(check(b"a\xf0\x9d\x84\x9e", 1), Ok(5));
    }
}
