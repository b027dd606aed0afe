//! Makes an event's name from a Rust name, and checks an event's name.

use syn::{Ident, ext::IdentExt};

/// The name in dotted lower case: `ChatMessage` → `chat.message`.
pub(crate) fn dotted(ident: &Ident) -> String {
    lower(ident, '.')
}

/// The name in snake case: `RoomEvent` → `room_event`.
pub(crate) fn snake(ident: &Ident) -> String {
    lower(ident, '_')
}

/// The mistake in an event's name, as the end of the sentence "an event's name …".
pub(crate) fn mistake(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match name.chars().next() {
        None => Some("must not be empty: write a name, for example \"chat.message\""),
        Some('_' | '.') => Some("must not start with `_` or `.`"),
        Some(_) if !name.chars().all(allowed) => {
            Some("may contain only ASCII letters, digits, `_`, `-` and `.`")
        }
        Some(_) => None,
    }
}

fn lower(ident: &Ident, separator: char) -> String {
    let chars: Vec<char> = ident.unraw().to_string().chars().collect();
    let mut name = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let small_next = chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        let starts_word = c.is_uppercase()
            && before.is_some_and(|c| c.is_lowercase() || c.is_numeric() || (c.is_uppercase() && small_next));
        if starts_word {
            name.push(separator);
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_start_at_capitals() {
        let dotted = |name: &str| dotted(&syn::parse_str(name).unwrap());
        for (rust, event) in [
            ("ChatMessage", "chat.message"),
            ("Tick", "tick"),
            ("X", "x"),
            ("XxOo", "xx.oo"),
            ("HTTPError", "http.error"),
            ("IO", "io"),
            ("Room2Left", "room2.left"),
            ("V2API", "v2.api"),
            ("Chat_Message", "chat_message"),
            ("r#Type", "type"),
            ("Été", "été"),
        ] {
            assert_eq!(dotted(rust), event);
        }
        assert_eq!(snake(&syn::parse_str("RoomEvent").unwrap()), "room_event");
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "chat.message", "a-b_c.D9", "9", "-", "a."] {
            assert_eq!(mistake(good), None, "{good}");
        }
        for bad in ["", "_a", ".a", "a b", "a:b", "été", "a/b", "\"", "a\n"] {
            assert!(mistake(bad).is_some(), "{bad}");
        }
    }
}
