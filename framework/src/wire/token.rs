//! Tokens, as HTTP calls its words (RFC 9110, section 5.6.2).

/// Whether `text` is a token: one or more characters, all of which [a token may have](is_token_byte).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a byte may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_letters_digits_and_marks_only() {
        for text in ["a", "chat.v2", "!#$%&'*+-.^_`|~09AZ"] {
            assert!(is_token(text), "{text}");
        }
        for text in ["", " ", "a b", "a,b", "a=b", "\"a\"", "é", "a\n"] {
            assert!(!is_token(text), "{text}");
        }
    }
}
