//! The pattern of one route: parsed once, and compared with each path.

use std::{borrow::Cow, ops::Range};

use percent_encoding::percent_decode_str;
use regex_lite::Regex;
use smallvec::SmallVec;

/// A parsed pattern: the segments between slashes, prefixes of outer routers included.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) segments: Vec<Segment>,
}

/// What one segment of the path must be.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    /// This text, percent-decoded.
    Literal(String),
    Param(Param),
}

/// A parameter, alone in its segment or between two texts.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) kind: ParamKind,
    pub(super) before: String,
    pub(super) after: String,
}

/// What the value of a parameter must be.
#[derive(Debug, Clone)]
pub(super) enum ParamKind {
    Int,
    /// Anything that is not empty, over any number of segments.
    Path,
    /// If `spans`, it is the end of the pattern, and takes the rest of the path, slashes included.
    Regex {
        regex: Regex,
        spans: bool,
    },
    Slug,
    /// Anything that is not empty: `{name}` and `{name:str}`.
    Str,
    Uuid,
}

/// Adds a character of a literal to a pattern for actix-web.
///
/// actix-web compares the pattern with a path that is decoded except for `%2F`, `%25` and `%2B`.
fn push_actix(char: char, pattern: &mut String) {
    match char {
        // These are still encoded in that path, or mean something in a pattern of actix-web.
        '%' | '/' | '+' | '{' | '}' => pattern.push_str("[^/]*"),
        other => pattern.push_str(&regex_lite::escape(other.encode_utf8(&mut [0; 4]))),
    }
}

/// The byte ranges of the parameters' values in a raw path, in the order of the pattern.
pub(super) type Spans = SmallVec<[Range<usize>; 4]>;

impl Pattern {
    /// Finds the values of the parameters in a path. `None` if the path does not fit.
    ///
    /// Literals are compared first, then each parameter is checked once. At most one parameter takes several
    /// segments, so nothing is tried twice: the cost is that of reading the path once.
    pub(super) fn find(&self, path: &str) -> Option<Spans> {
        let spanning = self.segments.iter().position(Segment::spans);
        let head = &self.segments[..spanning.unwrap_or(self.segments.len())];
        let mut spans = Spans::new();

        // The part that is not compared yet, without the slash before it. `None` if nothing is left.
        let mut rest = Some(path.strip_prefix('/').map(|_| 1..path.len())?);
        for segment in head {
            let from = rest?;
            let end = path[from.clone()].find('/').map(|at| from.start + at);
            rest = end.map(|end| end + 1..from.end);
            segment.find(path, from.start..end.unwrap_or(from.end), &mut spans)?;
        }
        match spanning {
            None if rest.is_some() => return None,
            None => {}
            Some(at) => {
                let mut middle = rest?;
                let mut behind = Spans::new();
                for segment in self.segments[at + 1..].iter().rev() {
                    let slash = middle.start + path[middle.clone()].rfind('/')?;
                    segment.find(path, slash + 1..middle.end, &mut behind)?;
                    middle.end = slash;
                }
                self.segments[at].find(path, middle, &mut spans)?;
                spans.extend(behind.into_iter().rev());
            }
        }
        let fits = self
            .params()
            .zip(&spans)
            .all(|(param, span)| decode(&path[span.clone()]).is_some_and(|value| param.kind.fits(&value)));
        fits.then_some(spans)
    }

    /// A pattern for actix-web that takes at least the same paths.
    ///
    /// It does not check the kinds of parameters: [`find`](Self::find) refuses the paths that it takes beyond. It
    /// captures everything after the first slash under `name`.
    pub(super) fn for_actix(&self, name: &str) -> String {
        let mut text = format!("/{{{name}:");
        for (at, segment) in self.segments.iter().enumerate() {
            if at > 0 {
                text.push('/');
            }
            match segment {
                Segment::Literal(literal) => literal.chars().for_each(|char| push_actix(char, &mut text)),
                Segment::Param(_) if segment.spans() => text += ".*",
                Segment::Param(_) => text += "[^/]*",
            }
        }
        text + "}"
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Param(param) => Some(param),
        })
    }

    /// The parameters that a scope gets. If nested routers use one name twice, the inner one wins.
    pub(super) fn visible<'a>(
        &'a self,
        spans: &'a Spans,
    ) -> impl Iterator<Item = (&'a str, &'a Range<usize>)> {
        let inner = |at: usize, name: &str| self.params().skip(at + 1).any(|param| param.name == name);
        self.params()
            .zip(spans)
            .enumerate()
            .filter(move |(at, (param, _))| !inner(*at, &param.name))
            .map(|(_, (param, span))| (param.name.as_str(), span))
    }

    /// Whether the last parameter takes the rest of the path.
    pub(super) fn ends_in_rest(&self) -> bool {
        self.segments.last().is_some_and(Segment::spans)
    }
}

impl Segment {
    /// Whether the segment may take several segments of a path.
    pub(super) fn spans(&self) -> bool {
        matches!(
            self,
            Self::Param(Param { kind: ParamKind::Path | ParamKind::Regex { spans: true, .. }, .. })
        )
    }

    /// Compares the literals of this segment with a part of the path, and adds the range of its parameter.
    fn find(&self, path: &str, at: Range<usize>, spans: &mut Spans) -> Option<()> {
        let raw = &path[at.clone()];
        match self {
            Self::Literal(text) => (raw == text || decode(raw)? == text.as_str()).then_some(()),
            Self::Param(param) => {
                let before = raw_prefix(raw, &param.before)?;
                let after = raw_suffix(&raw[before..], &param.after)?;
                spans.push(at.start + before..at.end - after);
                Some(())
            }
        }
    }
}

impl ParamKind {
    /// Whether a decoded value is of this kind.
    pub(super) fn fits(&self, value: &str) -> bool {
        match self {
            Self::Int => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Path | Self::Str => !value.is_empty(),
            Self::Regex { regex, .. } => regex.is_match(value),
            Self::Slug => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                !value.is_empty() && value.bytes().all(fits)
            }
            Self::Uuid => {
                value.len() == 36
                    && value.bytes().enumerate().all(|(at, byte)| match at {
                        8 | 13 | 18 | 23 => byte == b'-',
                        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                    })
            }
        }
    }
}

/// The percent-decoded text. `None` if it is not UTF-8.
pub(super) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(raw).decode_utf8().ok()
}

/// How many bytes at the start of `raw` are the text, percent-encoded or not. `None` if it starts otherwise.
fn raw_prefix(raw: &str, text: &str) -> Option<usize> {
    if raw.starts_with(text) {
        return Some(text.len());
    }
    let mut bytes = percent_decode_str(raw);
    if !text.bytes().all(|byte| bytes.next() == Some(byte)) {
        return None;
    }
    // A decoded byte takes one raw byte, or three if it was encoded.
    let mut at = 0;
    for _ in 0..text.len() {
        at += raw_len(&raw.as_bytes()[at..]);
    }
    Some(at)
}

/// As [`raw_prefix`], at the end of `raw`.
fn raw_suffix(raw: &str, text: &str) -> Option<usize> {
    if raw.ends_with(text) {
        return Some(text.len());
    }
    let mut skip = percent_decode_str(raw).count().checked_sub(text.len())?;
    let mut at = 0;
    while skip > 0 {
        at += raw_len(&raw.as_bytes()[at..]);
        skip -= 1;
    }
    // `at` may be inside a character, if that character was not encoded.
    percent_decode_str(raw.get(at..)?).eq(text.bytes()).then_some(raw.len() - at)
}

/// How many raw bytes the first decoded byte takes.
fn raw_len(raw: &[u8]) -> usize {
    match raw {
        [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse::parse, *};

    fn find(pattern: &str, path: &str) -> Option<Vec<String>> {
        let pattern = Pattern { segments: parse(pattern, false).unwrap() };
        let spans = pattern.find(path)?;
        Some(spans.into_iter().map(|span| decode(&path[span]).unwrap().into_owned()).collect())
    }

    fn fits(pattern: &str, path: &str) -> bool {
        find(pattern, path).is_some()
    }

    #[test]
    fn a_literal_matches_as_a_whole_and_the_trailing_slash_matters() {
        assert!(fits("/", "/"));
        assert!(fits("/foo/", "/foo/"));
        for path in ["/foo", "/foo//", "//foo/", "/foo/x", "/Foo/", "foo/", "", "/foo/?"] {
            assert!(!fits("/foo/", path), "{path}");
        }
        assert!(fits("/a//b", "/a//b"));
        assert!(
            fits("/caf\u{e9}/", "/caf%C3%A9/")
                && fits("/caf\u{e9}/", "/caf\u{e9}/")
                && fits("/a b", "/a%20b")
        );
    }

    #[test]
    fn a_parameter_takes_one_segment_that_is_not_empty() {
        assert_eq!(find("/room/{room}/", "/room/lobby/").unwrap(), ["lobby"]);
        for path in ["/room//", "/room/a/b/", "/room/", "/room/a"] {
            assert!(!fits("/room/{room}/", path), "{path}");
            assert!(!fits("/room/{room:str}/", path), "{path}");
        }
    }

    #[test]
    fn values_are_decoded_once() {
        assert_eq!(find("/{a}/{b}", "/x%2Fy/%2541").unwrap(), ["x/y", "%41"]);
        assert_eq!(find("/{a}", "/%zz%").unwrap(), ["%zz%"]);
        assert_eq!(find("/{a}", "/%E2%82%AC+\u{20ac}").unwrap(), ["\u{20ac}+\u{20ac}"]);
        for pattern in ["/{a}", "/{a:.*}", "/{a:path}", "/x"] {
            assert!(!fits(pattern, "/%FF"), "invalid UTF-8 matches {pattern}");
        }
    }

    #[test]
    fn converters_take_what_django_takes() {
        let uuid = "/075194d3-6885-417e-a8a8-6c931e272f00";
        for (pattern, yes, no) in [
            ("/{a:int}", "/0042", "/-1"),
            ("/{a:int}", "/99999999999999999999999", "/\u{663}"),
            ("/{a:slug}", "/a-b_C9", "/a.b"),
            ("/{a:uuid}", uuid, "/075194D3-6885-417E-A8A8-6C931E272F00"),
            ("/{a:uuid}", uuid, "/075194d3-6885-417e-a8a8-6c931e272f0"),
            ("/{a:path}", "/a/b//", "/"),
        ] {
            assert!(fits(pattern, yes), "{pattern} {yes}");
            assert!(!fits(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn a_regex_is_anchored_and_takes_the_rest_at_the_end_only() {
        assert!(fits("/{a:[a-z]+}/", "/abc/") && !fits("/{a:[a-z]+}/", "/abc1/"));
        assert!(fits("/{a:x|y}", "/y") && !fits("/{a:x|y}", "/xy"));
        assert!(fits("/{id:[0-9]{4}}/", "/1234/") && !fits("/{id:[0-9]{4}}/", "/12345/"));
        assert!(!fits("/{a:[a-z]+}", "/abc\n") && !fits("/{a:[a-z]+}", "/abc%0A"), "no newline at the end");
        assert_eq!(find("/f/{rest:.+}", "/f/a/b").unwrap(), ["a/b"]);
        assert!(!fits("/f/{rest:[a-z]+}", "/f/a/b") && fits("/f/{rest:.*}", "/f/"));
        assert!(!fits("/f/{one:.+}/", "/f/a/b/"), "one segment in the middle");
    }

    #[test]
    fn texts_may_stand_around_a_parameter() {
        assert_eq!(find("/room-{id:int}.json", "/room-7.json").unwrap(), ["7"]);
        assert_eq!(find("/room-{id:int}.json", "/%72oom%2D7%2Ejson").unwrap(), ["7"]);
        for path in ["/room-.json", "/room-7", "/oom-7.json", "/room-7.jsom", "/room-.jso"] {
            assert!(!fits("/room-{id:int}.json", path), "{path}");
        }
        assert!(
            !fits("/a{x}a", "/a") && !fits("/{x}a", "/\u{e9}"),
            "texts do not overlap, nor split characters"
        );
    }

    #[test]
    fn a_parameter_over_several_segments_may_stand_anywhere() {
        assert_eq!(find("/{a}/{p:path}/edit/{b}", "/x/1/2/3/edit/y").unwrap(), ["x", "1/2/3", "y"]);
        assert!(!fits("/{p:path}/edit/", "/edit/") && !fits("/{p:path}/edit/", "//edit/"));
        assert_eq!(find("/v{p:path}.txt", "/va/b.txt").unwrap(), ["a/b"]);
    }

    #[test]
    fn very_long_paths_cost_one_pass() {
        let path = "/a".repeat(32_000);
        assert_eq!(find("/a/{p:path}/a", &path).unwrap()[0].len(), path.len() - 5);
        assert!(!fits("/{a}/{b:.*}/c", &path));
        assert!(fits("/{a}", &format!("/{}", "%41".repeat(20_000))));
    }
}
