use crate::scope::raw_cookies;

/// Finds the cookie of this name in the lines of a header, as Django does.
///
/// If there are several, the last one counts. Its value is not percent-decoded.
pub(super) fn last<'a>(lines: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a str> {
    let (_, value) = raw_cookies(lines).filter(|(known, _)| *known == name.as_bytes()).last()?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::token::is_token;

    #[test]
    fn the_cookie_is_the_one_that_django_takes() {
        let last = |lines: &[&'static [u8]]| last(lines.iter().copied(), "sessionid");
        for (header, expected) in [
            (&b"sessionid=a"[..], Some("a")),
            (b"a=1; sessionid=first; sessionid=last", Some("last")),
            (b"sessionid=\"quoted\"", Some("quoted")),
            (b"sessionid=a%41=b", Some("a%41=b")),
            (b"sessionid=", Some("")),
            (b"xsessionid=a; sessionid", None),
            (b"promo=10\xe9; sessionid=a; \xff", Some("a")),
            (b"sessionid=a; sessionid=\xe9", None),
            (b"", None),
        ] {
            assert_eq!(last(&[header]), expected, "{header:?}");
        }
        assert_eq!(last(&[b"sessionid=a", b"sessionid=b; c"]), Some("b"));
        assert!(is_token("__Host-session") && !is_token("") && !is_token("a b") && !is_token("a=b"));
    }
}
