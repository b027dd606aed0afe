//! What stands in a group's log on NATS: entries, and marks between them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Message as NatsMessage};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    ChannelName,
    event::{Format, wire::except},
    groups::history::{
        position::{Epoch, Position, Tag},
        store::StoredEntry,
    },
};

/// The header of an entry: its tag, its nonce and the epoch that its sender believes in, with dots between them.
const ENTRY: &str = "Greenroom-Entry";
/// The header of a mark: the offset and the tag of the place that it stands for, with a dot between them.
const MARK: &str = "Greenroom-Mark";
/// The sequence number, which the server adds.
const SEQUENCE: &str = "Nats-Sequence";
/// The sequence number of the message before it with the same subject. The server adds it when it tells of an entry.
const LAST: &str = "Nats-Last-Sequence";
/// When it was stored.
const TIME: &str = "Nats-Time-Stamp";
/// The server stores a message with this header only if the subject's last message has this sequence number.
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

/// A place in a group's log, in an epoch that is known: behind the message with this sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) offset: u64,
    pub(super) tag: Tag,
}

impl Spot {
    pub(super) fn within(self, epoch: Epoch) -> Position {
        Position { epoch, offset: self.offset, tag: self.tag }
    }
}

/// A message of a log, as the server stores it or tells of it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    /// The sequence number of the message before it in this log. 0 if none is stored; `None` if the server does not say.
    pub(super) last: Option<u64>,
    /// How long ago it was stored. `None` if the server does not say it, or if it was just now.
    pub(super) age: Option<Duration>,
    pub(super) what: What,
}

/// What a message of a log is.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// An event.
    Entry { tag: Tag, nonce: Option<u64>, epoch: Option<Epoch>, payload: Bytes },
    /// The place behind which it stands, for when the entry there is too old to be kept. Nobody is sent a mark.
    Mark(Spot),
}

impl Stored {
    /// Reads a message of a log. `None` if it has no sequence number.
    pub(super) fn read(message: &NatsMessage) -> Option<Self> {
        let number = |name: &str| text(message, name)?.parse::<u64>().ok();
        let time = text(message, TIME).and_then(unix_time);
        let age = time.and_then(|time| SystemTime::now().duration_since(time).ok());
        Some(Self::of(message, number(SEQUENCE)?, number(LAST), age))
    }

    /// A message of a log with this number.
    pub(super) fn of(message: &NatsMessage, sequence: u64, last: Option<u64>, age: Option<Duration>) -> Self {
        let text = |name: &str| text(message, name);
        let what = match text(MARK).and_then(read_mark) {
            Some(spot) if spot.offset == 0 => What::Mark(Spot { offset: sequence, tag: spot.tag }),
            Some(spot) => What::Mark(spot),
            None => {
                // The payload is copied, because a message that waits would keep the whole buffer of the client.
                let payload = Bytes::copy_from_slice(&message.payload);
                match text(ENTRY).and_then(read_entry) {
                    Some((tag, nonce, epoch)) => What::Entry { tag, nonce: Some(nonce), epoch, payload },
                    None => What::Entry { tag: tag_of(&payload), nonce: None, epoch: None, payload },
                }
            }
        };
        Self { sequence, last, age, what }
    }

    /// A mark that was stored just now.
    pub(super) fn new_mark(sequence: u64, spot: Spot) -> Self {
        Self { sequence, last: None, age: None, what: What::Mark(spot) }
    }

    /// The place behind this message.
    pub(super) fn spot(&self) -> Spot {
        match &self.what {
            What::Entry { tag, .. } => Spot { offset: self.sequence, tag: *tag },
            What::Mark(spot) => *spot,
        }
    }

    /// The entry. `None` for a mark.
    pub(super) fn into_entry(self) -> Option<StoredEntry> {
        let What::Entry { tag, payload, .. } = self.what else { return None };
        let (payload, except) = except::read(Format::MsgPack, payload);
        let except: Vec<ChannelName> = ChannelName::of_texts(except);
        Some(StoredEntry { offset: self.sequence, tag, except, payload })
    }
}

/// The headers of a new entry.
pub(super) fn entry_headers(tag: Tag, nonce: u64, epoch: Epoch) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ENTRY, format!("{tag}.{nonce:016x}.{:016x}", epoch.get()));
    headers
}

/// The headers of a mark that stands for a place, and is stored only behind the message `last`.
///
/// With the offset 0 it stands for its own place.
pub(super) fn mark_headers(spot: Spot, last: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MARK, format!("{}.{}", spot.offset, spot.tag));
    expect_last(&mut headers, last);
    headers
}

/// Has the server store a message only if the last one with its subject has this number, or if there is none, for 0.
pub(super) fn expect_last(headers: &mut HeaderMap, last: u64) {
    headers.insert(EXPECTED, last.to_string());
}

fn text<'a>(message: &'a NatsMessage, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
}

fn read_entry(text: &str) -> Option<(Tag, u64, Option<Epoch>)> {
    let mut parts = text.split('.');
    let tag = parts.next()?.parse().ok()?;
    let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
    let nonce = number()?;
    Some((tag, nonce, number().and_then(Epoch::of)))
}

fn read_mark(text: &str) -> Option<Spot> {
    let (offset, tag) = text.split_once('.')?;
    Some(Spot { offset: offset.parse().ok()?, tag: tag.parse().ok()? })
}

/// Reads a time such as `2026-11-29T21:30:27.320329422Z`, to the second.
fn unix_time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    let mut numbers = text.split(['-', 'T', ':', '.']).map(str::parse::<u64>);
    let mut next = |most: u64| numbers.next()?.ok().filter(|number| *number <= most);
    let (year, month, day) = (next(9_999)?, next(12)?, next(31)?);
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    // The days since 1970. A year begins in March here, so that a leap day is its last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// The tag of an entry of another program, which has set none.
fn tag_of(payload: &[u8]) -> Tag {
    let hash = Sha256::digest(payload);
    Tag::of(u32::from_be_bytes([0, hash[0], hash[1], hash[2]])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: HeaderMap, payload: &'static [u8]) -> NatsMessage {
        NatsMessage {
            subject: "greenroom.at.0.room".into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    fn numbered(mut headers: HeaderMap, sequence: &str, last: &str) -> HeaderMap {
        headers.insert(SEQUENCE, sequence);
        headers.insert(LAST, last);
        headers
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let (tag, epoch) = (Tag::fresh(), Epoch::fresh());
        let headers = numbered(entry_headers(tag, 77, epoch), "12", "9");
        let stored = Stored::read(&message(headers, b"event")).unwrap();
        assert_eq!((stored.sequence, stored.last, stored.spot()), (12, Some(9), Spot { offset: 12, tag }));
        let What::Entry { nonce, epoch: read, .. } = &stored.what else { panic!("{stored:?}") };
        assert_eq!((*nonce, *read), (Some(77), Some(epoch)));
        assert_eq!(&stored.into_entry().unwrap().payload[..], b"event");
    }

    #[test]
    fn a_mark_stands_for_a_place() {
        let spot = Spot { offset: 9, tag: Tag::fresh() };
        let read = |spot, sequence| {
            let headers = numbered(mark_headers(spot, 9), sequence, "9");
            let stored = Stored::read(&message(headers, b"")).unwrap();
            assert!(stored.clone().into_entry().is_none());
            stored.spot()
        };
        assert_eq!(read(spot, "12"), spot);
        let own = Spot { offset: 0, ..spot };
        assert_eq!(read(own, "12"), Spot { offset: 12, ..spot });
    }

    #[test]
    fn a_time_is_read() {
        let seconds = |text| Some(unix_time(text)?.duration_since(UNIX_EPOCH).ok()?.as_secs());
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T12:00:01.5Z"), Some(951_825_601));
        assert_eq!(seconds("2026-11-29T21:30:27.320329422Z"), Some(1_795_987_827));
        for strange in [
            "",
            "Z",
            "2026-11-29",
            "2026-13-01T00:00:00Z",
            "1969-12-31T00:00:00Z",
            "99999-01-01T00:00:00Z",
            "0-1-1T0:0:0Z",
        ] {
            assert_eq!(seconds(strange), None, "{strange}");
        }
    }

    #[test]
    fn another_program_sets_no_header() {
        let read = |payload| Stored::read(&message(numbered(HeaderMap::new(), "1", "0"), payload)).unwrap();
        assert_eq!(read(b"a").spot(), read(b"a").spot(), "the tag comes from the payload");
        assert_ne!(read(b"a").spot(), read(b"b").spot());
        assert!(Stored::read(&message(HeaderMap::new(), b"a")).is_none());
        for strange in ["", ".", "12345", "0000010.1.1", "zzzzzz.1.1", "000001", "000001.x"] {
            let mut headers = numbered(HeaderMap::new(), "1", "x");
            headers.insert(ENTRY, strange);
            headers.insert(MARK, strange);
            let stored = Stored::read(&message(headers, b"a")).unwrap();
            assert!(matches!(stored.what, What::Entry { nonce: None, .. }), "{strange} {stored:?}");
        }
    }
}
