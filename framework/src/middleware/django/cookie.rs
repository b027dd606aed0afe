/// Finds the cookie of this name in the lines of a header, as Django does.
///
/// If there are several, the last one counts. Its value is not percent-decoded.
pub(super) fn last<'a>(lines: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        (known.trim() == name).then(|| value.trim())
    });
    let value = values.last()?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::token::is_token;

    #[test]
    fn the_cookie_is_the_one_that_django_takes() {
        for (header, expected) in [
            ("sessionid=a", Some("a")),
            ("a=1; sessionid=first; sessionid=last", Some("last")),
            ("sessionid=\"quoted\"", Some("quoted")),
            ("sessionid=a%41=b", Some("a%41=b")),
            ("sessionid=", Some("")),
            ("xsessionid=a; sessionid", None),
            ("", None),
        ] {
            assert_eq!(last([header].into_iter(), "sessionid"), expected, "{header}");
        }
        assert_eq!(last(["sessionid=a", "sessionid=b; c"].into_iter(), "sessionid"), Some("b"));
        assert!(is_token("__Host-session") && !is_token("") && !is_token("a b") && !is_token("a=b"));
    }
}
