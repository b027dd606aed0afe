//! A place in the log of a group.

use std::{fmt, num::NonZeroU64, str::FromStr};

/// The life of one log: a random number, new whenever the log begins anew.
///
/// Offsets of different epochs have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// A new epoch, which no other log has.
    pub(crate) fn fresh() -> Self {
        Self::of(random()).unwrap_or(Self(NonZeroU64::MIN))
    }

    /// The epoch with this number. `None` for 0, which no epoch has.
    pub(crate) fn of(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// 24 random bits of one entry, which tell it from another entry with the same offset.
///
/// Such another entry comes into being when a server has lost its newest entries, and goes on from an older state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The tag of the place before the first entry.
    pub(crate) const NONE: Self = Self(0);

    /// A new tag.
    pub(crate) fn fresh() -> Self {
        Self((random() >> 40) as u32)
    }

    /// The tag with this number. `None` if it has more than 24 bits.
    pub(crate) fn of(number: u32) -> Option<Self> {
        (number < 1 << 24).then_some(Self(number))
    }

    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl FromStr for Tag {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        hex(text, 6).and_then(|number| Self::of(number as u32)).ok_or(BadPosition)
    }
}

/// A place in the log of a group: behind the entry with this offset.
///
/// The offset says how many entries the log has had up to there. It is 0 at the beginning of the log. As a text it is
/// `<epoch>.<offset>.<tag>`, with the epoch and the tag in hexadecimal digits.
///
/// A position names the entry before it by the entry's random tag too. So a position is never mistaken for one in a log
/// that has lost its newest entries, and has used their offsets again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    pub(crate) epoch: Epoch,
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
}

impl Position {
    /// The place before the first entry of a log.
    pub(crate) fn start(epoch: Epoch) -> Self {
        Self { epoch, offset: 0, tag: Tag::NONE }
    }

    /// The life of the log in which this place is.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        self.epoch
    }

    /// How many entries the log has had up to here, in this epoch.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.offset
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}.{}", self.epoch.get(), self.offset, self.tag)
    }
}

/// The error for a text that is not a [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPosition;

impl fmt::Display for BadPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this is not a position: it must be an epoch, an offset and a tag, with dots between them",
        )
    }
}

impl std::error::Error for BadPosition {}

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let mut parts = text.split('.');
        let (Some(epoch), Some(offset), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadPosition);
        };
        let epoch = hex(epoch, 16).and_then(Epoch::of).ok_or(BadPosition)?;
        // `parse` alone would take a `+`.
        let offset = Some(offset).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let offset = offset.and_then(|text| text.parse().ok()).ok_or(BadPosition)?;
        Ok(Self { epoch, offset, tag: tag.parse()? })
    }
}

/// The number that so many hexadecimal digits, in lower case, stand for.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_hex)).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// 64 random bits. Without a source of random bits they are the clock's, which differ too.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64).rotate_left(24)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let position = Position { epoch: Epoch::fresh(), offset: 1_842, tag: Tag::fresh() };
        assert_eq!(position.to_string().parse(), Ok(position));
        let written = Position { epoch: Epoch::of(255).unwrap(), offset: 7, tag: Tag::of(0xabc).unwrap() };
        assert_eq!(written.to_string(), "00000000000000ff.7.000abc");
    }

    #[test]
    fn other_texts_are_no_positions() {
        for bad in [
            "",
            "1.2.3",
            "0000000000000000.1.000abc",
            "00000000000000FF.7.000abc",
            "00000000000000ff.+7.000abc",
            "00000000000000ff.-7.000abc",
            "00000000000000ff..000abc",
            "00000000000000ff.7.1000abc",
            "00000000000000ff.7.000abc.",
            "00000000000000ff.99999999999999999999.000abc",
            "00000000000000ff.7.00é",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(BadPosition), "{bad:?}");
        }
    }
}
