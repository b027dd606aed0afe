//! The bytes of an entry: in the stream of its log, in the queue of another process, and in a notice beside a topic.

use bytes::Bytes;

use crate::{
    GroupName,
    groups::history::position::{Epoch, Position, Tag},
};

/// Names one append, so that its sender finds it in the log if the answer is lost.
pub(in crate::layers::redis) type Nonce = [u8; 8];

/// What stands before an event in the stream: its tag, the one before it, the nonce, and when it was appended.
const HEAD: usize = 3 + 3 + 8 + 4;

/// With what a message begins in the queue of a Greenroom process, if it is an entry of a log.
///
/// No message of another kind does: it begins with random bytes, or as a map, or as an encrypted text.
const LOGGED: &[u8] = b"greenroom:log:";

/// With what a message begins there, if its group has a log, but the event is not kept.
const TRANSIENT: &[u8] = b"greenroom:now:";

/// Where an entry stands in its log, and the tag of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) struct Place {
    pub(in crate::layers::redis) at: Position,
    pub(in crate::layers::redis) prev: Tag,
}

/// An entry of a log's stream. The event is still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::layers::redis) struct RawEntry {
    pub(in crate::layers::redis) offset: u64,
    pub(in crate::layers::redis) tag: Tag,
    pub(in crate::layers::redis) prev: Tag,
    pub(in crate::layers::redis) nonce: Nonce,
    /// Seconds since 1970, by the clock of the server.
    pub(in crate::layers::redis) seconds: u32,
    pub(in crate::layers::redis) sealed: Bytes,
}

impl RawEntry {
    /// Reads an entry. `None` if another program has written it.
    pub(in crate::layers::redis) fn read(id: &[u8], mut bytes: Bytes) -> Option<Self> {
        let id = std::str::from_utf8(id).ok()?;
        let offset = id.strip_suffix("-0")?.parse().ok().filter(|offset| *offset > 0)?;
        if bytes.len() < HEAD {
            return None;
        }
        let sealed = bytes.split_off(HEAD);
        Some(Self {
            offset,
            tag: tag(&bytes[..3])?,
            prev: tag(&bytes[3..6])?,
            nonce: bytes[6..14].try_into().ok()?,
            seconds: u32::from_be_bytes(bytes[14..].try_into().ok()?),
            sealed,
        })
    }
}

/// What a message in the queue of this process is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::layers::redis) enum Queued {
    /// An entry of the log of this group. The rest is the message.
    Logged { group: GroupName, place: Place, message: Bytes },
    /// A message from any program.
    Plain(Bytes),
    /// An event that a Greenroom process does not keep.
    Transient(Bytes),
}

impl Queued {
    /// Reads what stands before a message. A message that only looks like one of ours stays as it is.
    pub(in crate::layers::redis) fn read(message: Bytes) -> Self {
        if message.starts_with(TRANSIENT) {
            return Self::Transient(message.slice(TRANSIENT.len()..));
        }
        match logged(&message) {
            Some((group, place, start)) => Self::Logged { group, place, message: message.slice(start..) },
            None => Self::Plain(message),
        }
    }
}

fn logged(message: &[u8]) -> Option<(GroupName, Place, usize)> {
    let mut rest = message.strip_prefix(LOGGED)?;
    let mut word = || {
        let end = rest.iter().position(|byte| *byte == b':')?;
        let word = std::str::from_utf8(&rest[..end]).ok();
        rest = &rest[end + 1..];
        word
    };
    let group = GroupName::new(word()?).ok()?;
    let (epoch, offset) = (word()?, word()?);
    let place = place(epoch, offset, rest.get(..6)?)?;
    Some((group, place, message.len() - rest.len() + 6))
}

/// With what the messages to Greenroom's processes begin. The script adds where the entry stands.
pub(in crate::layers::redis) fn mark(group: &GroupName) -> Vec<u8> {
    [LOGGED, group.as_bytes(), b":"].concat()
}

/// The message to a Greenroom process with an entry of a log.
pub(in crate::layers::redis) fn marked(group: &GroupName, place: Place, message: &[u8]) -> Vec<u8> {
    let Place { at, prev } = place;
    let head = format!("{}:{}:", epoch_text(at.epoch()), at.offset());
    [&mark(group)[..], head.as_bytes(), &tag_bytes(at.tag), &tag_bytes(prev), message].concat()
}

/// The message to a Greenroom process with an event that is not kept.
pub(in crate::layers::redis) fn marked_transient(message: &[u8]) -> Vec<u8> {
    [TRANSIENT, message].concat()
}

/// What is published beside the topic of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Notice {
    /// The next message on the topic is this entry.
    Logged(Place),
    /// One more process listens. Events without a notice are counted from this number on.
    Listens(u64),
    /// The next message on the topic is an event that a Greenroom process does not keep.
    Transient,
}

impl Notice {
    /// Reads a notice. `None` if it is of a kind that this version does not know.
    pub(in crate::layers::redis) fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (b'l', rest) => {
                let (words, tags) = rest.split_at_checked(rest.len().checked_sub(6)?)?;
                let mut words = std::str::from_utf8(words).ok()?.split(':');
                let place = place(words.next()?, words.next()?, tags)?;
                (words.next() == Some("")).then_some(Self::Logged(place))
            }
            (b'j', rest) => Some(Self::Listens(std::str::from_utf8(rest).ok()?.parse().ok()?)),
            (b't', []) => Some(Self::Transient),
            _ => None,
        }
    }
}

fn place(epoch: &str, offset: &str, tags: &[u8]) -> Option<Place> {
    let offset = offset.parse().ok().filter(|offset| *offset > 0)?;
    let at = Position { epoch: read_epoch(epoch.as_bytes())?, offset, tag: tag(&tags[..3])? };
    Some(Place { at, prev: tag(&tags[3..])? })
}

/// An epoch as it stands in Redis.
pub(in crate::layers::redis) fn epoch_text(epoch: Epoch) -> String {
    format!("{:016x}", epoch.get())
}

pub(in crate::layers::redis) fn read_epoch(bytes: &[u8]) -> Option<Epoch> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == 16 && !text.starts_with('+'))?;
    u64::from_str_radix(text, 16).ok().and_then(Epoch::of)
}

/// A tag as it stands in Redis.
pub(in crate::layers::redis) fn tag_bytes(tag: Tag) -> [u8; 3] {
    let [_, bytes @ ..] = tag.get().to_be_bytes();
    bytes
}

pub(in crate::layers::redis) fn tag(bytes: &[u8]) -> Option<Tag> {
    let [a, b, c] = *bytes.first_chunk::<3>().filter(|_| bytes.len() == 3)?;
    Tag::of(u32::from_be_bytes([0, a, b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_1842() -> Place {
        let at =
            Position { epoch: Epoch::of(255).unwrap(), offset: 1_842, tag: Tag::of(0x3a_3a_01).unwrap() };
        Place { at, prev: Tag::of(0x00_0a_3a).unwrap() }
    }

    fn room() -> GroupName {
        GroupName::new("chat_1").unwrap()
    }

    #[test]
    fn a_marked_message_is_read_as_it_was_written() {
        let marked = marked(&room(), place_1842(), b"::bytes");
        assert!(marked.starts_with(b"greenroom:log:chat_1:00000000000000ff:1842:::\x01\0\x0a:::bytes"));
        let read = Queued::read(marked.into());
        let message = Bytes::from_static(b"::bytes");
        assert_eq!(read, Queued::Logged { group: room(), place: place_1842(), message });
        let transient = marked_transient(b"bytes");
        assert_eq!(Queued::read(transient.into()), Queued::Transient(Bytes::from_static(b"bytes")));
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        for other in [
            &b""[..],
            b"\x81\xa4type",
            b"greenroom:wake",
            b"greenroom:log:",
            b"greenroom:log:chat:00000000000000ff:1:aaabb",
            b"greenroom:log:chat:00000000000000ff:0:aaabbb",
            b"greenroom:log:chat:0000000000000000:1:aaabbb",
            b"greenroom:log:chat:+0000000000000ff:1:aaabbb",
            b"greenroom:log:a chat:00000000000000ff:1:aaabbb",
            b"greenroom:log:chat:00000000000000ff:99999999999999999999:aaabbb",
        ] {
            assert_eq!(Queued::read(Bytes::from(other)), Queued::Plain(Bytes::from(other)));
        }
    }

    #[test]
    fn a_notice_is_read_as_the_scripts_write_it() {
        let logged = b"l00000000000000ff:1842:::\x01\0\x0a:";
        assert_eq!(Notice::read(logged), Some(Notice::Logged(place_1842())));
        assert_eq!(Notice::read(b"j1790000000"), Some(Notice::Listens(1_790_000_000)));
        assert_eq!(Notice::read(b"t"), Some(Notice::Transient));
        for other in
            [&b""[..], b"l", b"laaabbb", b"l00000000000000ff:1842:x:aaabbb", b"j", b"jx", b"tt", b"z"]
        {
            assert_eq!(Notice::read(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_entry_is_read_as_the_scripts_write_it() {
        let bytes = [b"::\x01\0\x0a:12345678", &1_790_000_000_u32.to_be_bytes()[..], b"event"].concat();
        let read = RawEntry::read(b"1842-0", bytes.into()).unwrap();
        assert_eq!((read.offset, read.tag, read.prev), (1_842, place_1842().at.tag, place_1842().prev));
        assert_eq!(
            (&read.nonce, read.seconds, &read.sealed[..]),
            (b"12345678", 1_790_000_000, &b"event"[..])
        );
        for (id, length) in [("1842-1", 30), ("0-0", 30), ("x", 30), ("1842-0", HEAD - 1)] {
            assert_eq!(RawEntry::read(id.as_bytes(), vec![0; length].into()), None, "{id} {length}");
        }
    }
}
