//! The texts of a scope, in one allocation.

use smallvec::SmallVec;

/// A list of byte strings in one allocation: first the start of each as a `u32`, then the strings.
///
/// A part that does not exist reads as empty. actix bounds a request's head far below 4 GiB.
pub(super) struct Texts(Box<[u8]>);

type Parts<'a> = SmallVec<[&'a [u8]; 16]>;

impl Texts {
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let index = 4 * parts.len();
        let total = index + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(total);
        let mut start = index;
        for part in parts {
            bytes.extend_from_slice(&u32::try_from(start).unwrap_or(u32::MAX).to_le_bytes());
            start += part.len();
        }
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Self(bytes.into_boxed_slice())
    }

    /// The same list with one part replaced.
    pub(super) fn replaced(&self, at: usize, with: &[u8]) -> Self {
        let mut parts: Parts<'_> = self.iter().collect();
        if let Some(part) = parts.get_mut(at) {
            *part = with;
        }
        Self::new(&parts)
    }

    /// The first `keep` parts, then `more`.
    pub(super) fn with_tail(&self, keep: usize, more: &[&[u8]]) -> Self {
        let mut parts: Parts<'_> = self.iter().take(keep).collect();
        parts.extend_from_slice(more);
        Self::new(&parts)
    }

    pub(super) fn len(&self) -> usize {
        if self.0.is_empty() { 0 } else { self.start(0) / 4 }
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        let len = self.len();
        if at >= len {
            return &[];
        }
        let end = if at + 1 == len { self.0.len() } else { self.start(at + 1) };
        self.0.get(self.start(at)..end).unwrap_or_default()
    }

    /// The part as text. A part that is not UTF-8 reads as empty.
    pub(super) fn text(&self, at: usize) -> &str {
        std::str::from_utf8(self.get(at)).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    fn start(&self, at: usize) -> usize {
        let bytes = self.0.get(4 * at..4 * at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_back_and_can_be_replaced() {
        let mut texts = Texts::new(&[b"a", b"", b"ccc"]);
        assert_eq!((texts.len(), texts.get(0), texts.get(1), texts.text(2)), (3, &b"a"[..], &b""[..], "ccc"));
        assert_eq!(texts.get(3), b"");
        texts = texts.replaced(1, b"bb").replaced(9, b"nowhere");
        assert_eq!(texts.iter().collect::<Vec<_>>(), [&b"a"[..], b"bb", b"ccc"]);
        texts = texts.with_tail(1, &[b"x", b"\xff"]);
        assert_eq!(texts.iter().collect::<Vec<_>>(), [&b"a"[..], b"x", b"\xff"]);
        assert_eq!(texts.text(2), "", "not UTF-8");
        let none = Texts::new(&[]);
        assert_eq!((none.len(), none.get(0)), (0, &b""[..]));
    }
}
