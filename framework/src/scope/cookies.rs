//! Reads the cookies of a request. Everything that reads a cookie reads it here.
//!
//! Cookies are bytes, and each stands alone: one that cannot be read hides no other.

use std::borrow::Cow;

use cookie::Cookie;
use percent_encoding::percent_decode;

/// The cookies in the lines of a `Cookie` header, with their names and values as the client sent them.
///
/// A pair of quotes around a value is taken off. A part without a name or without `=` is left out.
pub(crate) fn raw_cookies<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|part| {
        let at = part.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (part[..at].trim_ascii(), part[at + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        (!name.is_empty()).then(|| (name, unquoted.unwrap_or(value)))
    })
}

/// Reads one cookie. Returns `None` if it is not text, or if its value holds a control character.
///
/// The value is percent-decoded. The name is not: otherwise `%5F%5FHost-id`, which a page of a subdomain may set,
/// would be read as `__Host-id`, which it may not set.
pub(super) fn read<'a>((name, value): (&'a [u8], &'a [u8])) -> Option<Cookie<'a>> {
    let name = std::str::from_utf8(name).ok()?;
    let value = match Cow::from(percent_decode(value)) {
        Cow::Borrowed(value) => Cow::Borrowed(std::str::from_utf8(value).ok()?),
        Cow::Owned(value) => Cow::Owned(String::from_utf8(value).ok()?),
    };
    (!value.contains(char::is_control)).then(|| Cookie::new(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(line: &[u8]) -> Vec<(&[u8], &[u8])> {
        raw_cookies([line].into_iter()).collect()
    }

    #[test]
    fn each_cookie_is_read_alone() {
        let all: [(&[u8], &[u8]); 4] = [(b"promo", b"10\xe9"), (b"\xff", b"1"), (b"a", b"b=c"), (b"e", b"")];
        assert_eq!(raw(b"promo=10\xe9; \xff=1;a = b=c ;novalue;=noname;; e="), all);
        assert_eq!(raw(b"a=\"b c\"; d=\"; e=\"\""), [(&b"a"[..], &b"b c"[..]), (b"d", b"\""), (b"e", b"")]);
        assert!(raw(b"").is_empty());
        let read: Vec<_> =
            raw(b"promo=10\xe9; \xff=1; a=%E2%82%AC; b=%ff").into_iter().filter_map(read).collect();
        assert_eq!(read, [Cookie::new("a", "€")]);
    }

    #[test]
    fn a_name_is_compared_as_it_was_sent() {
        let names = raw(b"%5F%5FHost-s=attacker; __Host-s=victim").into_iter().filter_map(read);
        assert_eq!(
            names.map(|cookie| cookie.name().to_owned()).collect::<Vec<_>>(),
            ["%5F%5FHost-s", "__Host-s"]
        );
    }

    #[test]
    fn a_value_with_a_control_character_is_left_out() {
        for value in ["a%0d%0ax: y", "%00", "%1b[2J", "%7f", "%C2%85", "a\tb"] {
            assert_eq!(read((b"a", value.as_bytes())), None, "{value}");
        }
        assert!(read((b"a", b"x%20y%25%3B")).is_some_and(|cookie| cookie.value() == "x y%;"));
    }
}
