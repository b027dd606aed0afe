//! Finds routes that can never match, because an earlier one takes all their paths.

use super::pattern::{Param, ParamKind, Pattern, Segment};

/// How an earlier route takes the paths of a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    /// The two differ only in the names of parameters.
    SameShape,
    /// Every path of the later one matches the earlier one.
    Shadowed,
}

/// Compares two patterns segment by segment.
///
/// It knows which segments a literal, `{name}`, `{name:str}` and `{name:path}` take. Regexes and the other
/// converters are compared as texts only. So every overlap that it finds is a real one.
pub(super) fn overlap(earlier: &Pattern, later: &Pattern) -> Option<Overlap> {
    let (earlier, later) = (&earlier.segments[..], &later.segments[..]);
    if earlier.len() == later.len() && earlier.iter().zip(later).all(|(a, b)| same_shape(a, b)) {
        return Some(Overlap::SameShape);
    }
    let shadowed = match earlier.iter().position(Segment::spans) {
        None => all_covered(earlier, later),
        Some(at) => {
            let tail = earlier.len() - at - 1;
            let middle_end = later.len().checked_sub(tail)?;
            at < middle_end
                && takes_all(&earlier[at], true)
                && all_covered(&earlier[..at], &later[..at])
                && all_covered(&earlier[at + 1..], &later[middle_end..])
                && (middle_end - at > 1 || never_empty(&later[at]))
        }
    };
    shadowed.then_some(Overlap::Shadowed)
}

fn all_covered(earlier: &[Segment], later: &[Segment]) -> bool {
    let covers = |(a, b): (&Segment, &Segment)| {
        !b.spans() && (same_shape(a, b) || takes_all(a, false) && never_empty(b))
    };
    earlier.len() == later.len() && earlier.iter().zip(later).all(covers)
}

fn same_shape(a: &Segment, b: &Segment) -> bool {
    match (a, b) {
        (Segment::Literal(a), Segment::Literal(b)) => a == b,
        (Segment::Param(a), Segment::Param(b)) => {
            a.before == b.before && a.after == b.after && same_kind(&a.kind, &b.kind)
        }
        (Segment::Literal(_), Segment::Param(_)) | (Segment::Param(_), Segment::Literal(_)) => false,
    }
}

fn same_kind(a: &ParamKind, b: &ParamKind) -> bool {
    match (a, b) {
        (ParamKind::Regex { regex: a, spans: a_spans }, ParamKind::Regex { regex: b, spans: b_spans }) => {
            a.as_str() == b.as_str() && a_spans == b_spans
        }
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

/// Whether a segment takes every text that is not empty, in several segments or in one.
fn takes_all(segment: &Segment, several: bool) -> bool {
    let Segment::Param(Param { kind, before, after, .. }) = segment else { return false };
    let takes = if several { matches!(kind, ParamKind::Path) } else { matches!(kind, ParamKind::Str) };
    takes && before.is_empty() && after.is_empty()
}

fn never_empty(segment: &Segment) -> bool {
    match segment {
        Segment::Literal(text) => !text.is_empty(),
        Segment::Param(param) => !param.before.is_empty() || !param.after.is_empty() || !param.kind.fits(""),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse::parse, *};

    #[test]
    fn overlaps_are_found_and_only_those() {
        use Overlap::{SameShape, Shadowed};
        for (earlier, later, expected) in [
            ("/a/", "/a/", Some(SameShape)),
            ("/{x}/", "/{y:str}/", Some(SameShape)),
            ("/{x:[a-z]+}/", "/{y:[a-z]+}/", Some(SameShape)),
            ("/{x:path}", "/{y:path}", Some(SameShape)),
            ("/{x}/", "/a/", Some(Shadowed)),
            ("/{x}/", "/{y:int}/", Some(Shadowed)),
            ("/{x}/", "/a-{y}/", Some(Shadowed)),
            ("/{x}/{y:int}", "/a/{y:int}", Some(Shadowed)),
            ("/{x:path}", "/a", Some(Shadowed)),
            ("/{x:path}", "/a/b/{c}/", Some(Shadowed)),
            ("/{x:path}", "//", Some(Shadowed)),
            ("/f/{x:path}/e", "/f/{y}/{z:path}/e", Some(Shadowed)),
            ("/{x:path}", "/{y:.+}", Some(Shadowed)),
            // In each of these the later pattern has a path that the earlier one does not take.
            ("/a/", "/{x}/", None),
            ("/a/", "/a", None),
            ("/{x}/", "/{y}", None),
            ("/{x}", "/{y:path}", None),
            ("/{x}", "/{y:.+}", None),
            ("/{x}/", "/{y:[a-z]*}/", None),
            ("/{x:path}", "/{y:.*}", None),
            ("/{x:path}", "/", None),
            ("/f/{x:path}/e", "/f/e", None),
            ("/a-{x}", "/{y}", None),
            ("/a-{x:path}", "/a-b", None),
            ("/{x:int}", "/7", None),
            ("/{x:slug}", "/{y:int}", None),
            ("/{x:[a-z]+}/", "/a/", None),
        ] {
            let pattern = |text| Pattern { segments: parse(text, false).unwrap() };
            assert_eq!(overlap(&pattern(earlier), &pattern(later)), expected, "{earlier} before {later}");
        }
    }
}
