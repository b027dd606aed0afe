//! Lists in headers: elements with commas between them (RFC 9110, section 5.6.1).
//!
//! All lists are read here. Empty elements are left out, as the RFC says. A list is read as bytes, because one element
//! that is not UTF-8 must not hide the others.

/// The elements of one value, from the first to the last.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The elements between delimiters, the last first. An element that is not UTF-8 reads as `?`.
///
/// With `quotes`, a delimiter in a quoted string counts as a part of its element. Quotes are read from the right too:
/// anyone can write the left part of a list to which proxies append, and an open quote there must change nothing.
pub(crate) fn elements_from_right(value: &[u8], delimiter: u8, quotes: bool) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    let elements = std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let found = text.iter().enumerate().rev().find(|&(at, &byte)| {
            let escaped = at > 0 && text[at - 1] == b'\\';
            quoted ^= quotes && byte == b'"' && !escaped;
            byte == delimiter && !quoted
        });
        let element = match found {
            Some((at, _)) => {
                rest = Some(&text[..at]);
                &text[at + 1..]
            }
            None => {
                rest = None;
                text
            }
        };
        Some(std::str::from_utf8(element).unwrap_or("?").trim())
    });
    elements.filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_elements_and_the_space_around_elements_are_left_out() {
        let read = |value: &'static [u8]| elements(value).collect::<Vec<_>>();
        assert_eq!(read(b"a,b"), [b"a", b"b"]);
        assert_eq!(read(b", a\t,, b c ,"), [&b"a"[..], b"b c"]);
        assert_eq!(read(b"\xff, a"), [b"\xff", b"a"]);
        for empty in [&b""[..], b" ", b",", b" ,\t, "] {
            assert_eq!(elements(empty).count(), 0, "{empty:?}");
        }
    }

    #[test]
    fn lists_are_read_from_the_right() {
        let read = |text: &'static str, quotes| {
            elements_from_right(text.as_bytes(), b',', quotes).collect::<Vec<_>>()
        };
        assert_eq!(read("a, b,,c ", false), ["c", "b", "a"]);
        assert_eq!(read("a, \"b,c\" ,d", true), ["d", "\"b,c\"", "a"]);
        assert_eq!(
            read("for=\"evil, for=1.2.3.4", true),
            ["for=1.2.3.4", "for=\"evil"],
            "an open quote at the left"
        );
        assert_eq!(elements_from_right(b"\xff, a", b',', false).collect::<Vec<_>>(), ["a", "?"]);
        assert!(read("", true).is_empty() && read(" , ", true).is_empty());
    }
}
