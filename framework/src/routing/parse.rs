//! Parses the text of a pattern into its segments.

use regex_lite::Regex;

use super::{
    foreign,
    pattern::{Param, ParamKind, Segment},
};

/// Parses a pattern, or the prefix of a nested router. The error says what is wrong and how to write it.
pub(super) fn parse(text: &str, is_prefix: bool) -> Result<Vec<Segment>, String> {
    let body = text.strip_prefix('/').ok_or("it does not begin with `/`: add one")?;
    let body = if is_prefix { body.strip_suffix('/').unwrap_or(body) } else { body };
    if is_prefix && body.is_empty() {
        return Ok(Vec::new());
    }
    let pieces = split(body)?;
    let last = pieces.len() - 1;
    let mut segments = Vec::with_capacity(pieces.len());
    let mut names: Vec<String> = Vec::new();
    for (at, piece) in pieces.into_iter().enumerate() {
        let segment = segment(piece, at == last && !is_prefix)?;
        if let Segment::Param(param) = &segment {
            if names.contains(&param.name) {
                return Err(format!("it has the parameter `{}` twice: rename one", param.name));
            }
            names.push(param.name.clone());
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Checks the segments of a prefix and a pattern after they were joined.
pub(super) fn check_joined(segments: &[Segment]) -> Result<(), String> {
    if segments.iter().filter(|segment| segment.spans()).count() > 1 {
        return Err("two of its parameters take several segments each, so it is not clear where one ends: \
                    let only one be `path` or a regex at the end"
            .to_owned());
    }
    Ok(())
}

/// Splits at the slashes that are not in braces.
fn split(body: &str) -> Result<Vec<&str>, String> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(found) = body[at..].find(['/', '{', '}']).map(|found| at + found) {
        at = match body.as_bytes()[found] {
            b'/' => {
                pieces.push(&body[start..found]);
                start = found + 1;
                start
            }
            b'{' => found + closing(&body[found..]).ok_or("a `{` is never closed: add `}`")? + 1,
            _ => return Err("a `}` closes nothing: add `{` or remove it".to_owned()),
        };
    }
    pieces.push(&body[start..]);
    Ok(pieces)
}

/// Where the brace that opens `text` is closed. Braces in a regex are counted, except escaped ones and those in
/// classes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut escaped, mut in_class) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' => in_class = false,
            _ if in_class => {}
            b'[' => in_class = true,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn segment(piece: &str, is_last: bool) -> Result<Segment, String> {
    let Some(open) = piece.find('{') else {
        return match foreign::segment(piece) {
            Some(meant) => Err(format!("`{piece}` is no parameter here: did you mean {meant}?")),
            None => literal(piece).map(Segment::Literal),
        };
    };
    let close = open + closing(&piece[open..]).ok_or("a `{` is never closed: add `}`")?;
    let (before, inside, after) = (&piece[..open], &piece[open + 1..close], &piece[close + 1..]);
    if after.contains('{') {
        return Err(
            "two parameters share a segment: put a `/` between them, or read both from one".to_owned()
        );
    }
    if let Some(meant) = foreign::braces(inside) {
        return Err(format!("`{{{inside}}}` is how another router writes it: did you mean {meant}?"));
    }
    let (name, kind) = match inside.split_once(':') {
        Some((name, kind)) => (name, self::kind(name, kind, is_last && after.is_empty())?),
        None => (inside, ParamKind::Str),
    };
    let first = name.bytes().next().ok_or("a parameter has no name: write `{name}`")?;
    if first.is_ascii_digit() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(format!(
            "the parameter name {name:?} is invalid: use ASCII letters, digits and `_`, and begin with no digit"
        ));
    }
    Ok(Segment::Param(Param {
        name: name.to_owned(),
        kind,
        before: literal(before)?,
        after: literal(after)?,
    }))
}

fn literal(text: &str) -> Result<String, String> {
    match text.chars().find(|c| matches!(c, '%' | '?' | '#') || c.is_control()) {
        Some('%') => {
            Err("it contains a `%`: write the text decoded, because paths are compared decoded".to_owned())
        }
        Some(c) => Err(format!(
            "it contains {c:?}, which cannot be in a path: remove it, because a route sees only the path"
        )),
        None => Ok(text.to_owned()),
    }
}

fn kind(name: &str, text: &str, at_end: bool) -> Result<ParamKind, String> {
    Ok(match text {
        "int" => ParamKind::Int,
        "path" => ParamKind::Path,
        "slug" => ParamKind::Slug,
        "str" => ParamKind::Str,
        "uuid" => ParamKind::Uuid,
        _ if text.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            return Err(format!(
                "`{{{name}:{text}}}` has an unknown converter: use int, path, slug, str, uuid, or a regex such as `[a-z]+`"
            ));
        }
        _ => {
            let bad = |error| format!("the regex of `{{{name}}}` is invalid: {error}");
            Regex::new(text).map_err(bad)?;
            let regex = Regex::new(&format!(r"\A(?:{text})\z")).map_err(bad)?;
            ParamKind::Regex { regex, spans: at_end }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_patterns_say_what_to_write() {
        for (pattern, text) in [
            ("", "begin with `/`"),
            ("foo/", "begin with `/`"),
            ("^foo/$", "begin with `/`"),
            ("/{a", "never closed"),
            ("/{a:[0-9]{4}", "never closed"),
            ("/a}", "closes nothing"),
            ("/{a}}", "closes nothing"),
            ("/{}", "no name"),
            ("/{:int}", "no name"),
            ("/{9a}", "is invalid"),
            ("/{a b}", "is invalid"),
            ("/{{a}}", "is invalid"),
            ("/{a}/{a}/", "twice"),
            ("/{a}-{b}/", "share a segment"),
            ("/{a:foo}", "unknown converter"),
            ("/{a:integer}", "did you mean `{a:int}`?"),
            ("/{int:id}/", "did you mean `{id:int}`?"),
            ("/{*rest}", "did you mean `{rest:path}`?"),
            ("/z/:id/", "`:id` is no parameter here: did you mean `{id}`, or `{id:int}` for a number?"),
            ("/z/<int:id>/", "did you mean `{id:int}`?"),
            ("/z/*", "did you mean `{rest:path}`?"),
            (r"/(?P<id>\d+)/", "did you mean `{id:[0-9]+}`"),
            ("/{a:}", "unknown converter"),
            ("/{a:[}", "never closed"),
            ("/{a:(}", "the regex of `{a}` is invalid"),
            ("/{a:x)(y}", "the regex of `{a}` is invalid"),
            ("/a%20b", "decoded"),
            ("/a?b=c", "contains '?'"),
            ("/a#b", "contains '#'"),
            ("/a\n", "contains '\\n'"),
        ] {
            let error = parse(pattern, false).expect_err(pattern);
            assert!(error.contains(text), "{pattern}: {error}");
        }
    }

    #[test]
    fn braces_and_slashes_may_stand_in_a_regex() {
        for (pattern, count) in
            [(r"/{a:[0-9]{2,4}}/", 2), (r"/{a:\{x\}}", 1), ("/{a:[{]}/b", 2), ("/{a:x/y}", 1)]
        {
            assert_eq!(parse(pattern, false).unwrap().len(), count, "{pattern}");
        }
    }

    #[test]
    fn a_prefix_drops_one_trailing_slash() {
        for (prefix, count) in [("/", 0), ("/api", 1), ("/api/", 1), ("/api//", 2), ("/{a}/b", 2)] {
            assert_eq!(parse(prefix, true).unwrap().len(), count, "{prefix}");
        }
        assert!(parse("", true).is_err());
    }
}
