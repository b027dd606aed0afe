//! What stands in a history file.
//!
//! | Part | Bytes |
//! |---|---|
//! | `greenroom history` and a line break, the version, the kind | 18, 4, 1 |
//! | a claim: the number of the process | 16 |
//! | a state: the time in ms since 1970, the secret, the number of logs | 8, 32, 4 |
//! | each log: name, size, time in ms; epoch, offset and tag of its base; the number of entries | 2 + n, 4, 8, 8, 8, 4, 4 |
//! | each entry: offset, tag, age in ms; the number of channels left out, each one; the event | 8, 4, 8, 4, 2 + n, 4 + n |
//! | the SHA-256 of all before it | 32 |
//!
//! Numbers have their low byte first. Events are MessagePack. Version 1, which is still read, has 2 bytes for the number of
//! channels left out.

use std::{
    io::{self, Write},
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    ChannelName, GroupName,
    groups::history::position::{Epoch, Position, Tag},
};

const MAGIC: &[u8; 18] = b"greenroom history\n";
/// Another layout gets another number.
const VERSION: u32 = 2;
/// The oldest that is still read.
const OLDEST: u32 = 1;
const CLAIM: u8 = b'c';
const STATE: u8 = b's';
/// How many bytes a claim has.
pub(super) const CLAIM_LENGTH: usize = MAGIC.len() + 4 + 1 + 16 + 32;

/// What was read.
pub(super) enum Content {
    /// A process has begun with this path, and has not ended cleanly since.
    Claim,
    State(State),
}

/// The logs of a process that has ended.
pub(super) struct State {
    /// When it ended, since 1970.
    pub(super) written: Duration,
    pub(super) secret: [u8; 32],
    pub(super) logs: Vec<KeptLog>,
}

/// One log of a process that has ended.
pub(super) struct KeptLog {
    pub(super) group: GroupName,
    /// The place before the first entry.
    pub(super) base: Position,
    pub(super) entries: Vec<KeptEntry>,
}

/// One entry of such a log.
pub(super) struct KeptEntry {
    pub(super) position: Position,
    /// How old it was when the process ended.
    pub(super) age: Duration,
    pub(super) left_out: Vec<ChannelName>,
    pub(super) payload: Bytes,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged,
    /// Another version has written it.
    Version(u32),
}

/// Writes a file, and sums it up.
pub(super) struct Out<W> {
    to: W,
    sum: Sha256,
}

impl<W: Write> Out<W> {
    fn new(to: W, kind: u8) -> io::Result<Self> {
        let mut out = Self { to, sum: Sha256::new() };
        out.put(MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&[kind])?;
        Ok(out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.to.write_all(bytes)
    }

    fn short(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u16::try_from(bytes.len()).map_err(|_| too_long())?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }

    /// Begins a state.
    pub(super) fn state(to: W, written: Duration, secret: &[u8; 32], logs: usize) -> io::Result<Self> {
        let mut out = Self::new(to, STATE)?;
        out.put(&millis(written).to_le_bytes())?;
        out.put(secret)?;
        out.count(logs)?;
        Ok(out)
    }

    pub(super) fn log(&mut self, log: &KeptLog) -> io::Result<()> {
        self.short(log.group.as_bytes())?;
        let Position { epoch, offset, tag } = log.base;
        self.put(&epoch.get().to_le_bytes())?;
        self.put(&offset.to_le_bytes())?;
        self.put(&tag.get().to_le_bytes())?;
        self.count(log.entries.len())?;
        for entry in &log.entries {
            self.put(&entry.position.offset.to_le_bytes())?;
            self.put(&entry.position.tag.get().to_le_bytes())?;
            self.put(&millis(entry.age).to_le_bytes())?;
            self.count(entry.left_out.len())?;
            for channel in &entry.left_out {
                self.short(channel.as_bytes())?;
            }
            self.count(entry.payload.len())?;
            self.put(&entry.payload)?;
        }
        Ok(())
    }

    fn count(&mut self, count: usize) -> io::Result<()> {
        let count = u32::try_from(count).map_err(|_| too_long())?;
        self.put(&count.to_le_bytes())
    }

    /// Writes the sum. Returns what was written to.
    pub(super) fn end(mut self) -> io::Result<W> {
        let sum: [u8; 32] = self.sum.finalize().into();
        self.to.write_all(&sum)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a name or an event is too long for a history file")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The bytes of a claim.
pub(super) fn claim(process: &[u8; 16]) -> Vec<u8> {
    let written = Out::new(Vec::with_capacity(CLAIM_LENGTH), CLAIM).and_then(|mut out| {
        out.put(process)?;
        out.end()
    });
    written.expect("a vector takes all bytes")
}

/// Reads a file.
pub(super) fn read(bytes: &Bytes) -> Result<Content, Unreadable> {
    let damaged = Unreadable::Damaged;
    let (fields, sum) = bytes.split_last_chunk::<32>().ok_or(damaged)?;
    let mut input = Input { bytes, at: 0, end: fields.len(), version: VERSION };
    if input.take(MAGIC.len())? != MAGIC {
        return Err(damaged);
    }
    input.version = u32::from_le_bytes(input.array()?);
    if !(OLDEST..=VERSION).contains(&input.version) {
        return Err(Unreadable::Version(input.version));
    }
    let is_of: [u8; 32] = Sha256::digest(fields).into();
    if is_of != *sum {
        return Err(damaged);
    }
    let [kind] = input.array()?;
    let content = match kind {
        CLAIM => {
            let _: [u8; 16] = input.array()?;
            Content::Claim
        }
        STATE => Content::State(input.state()?),
        _ => return Err(damaged),
    };
    if input.at == input.end { Ok(content) } else { Err(damaged) }
}

struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
    version: u32,
}

impl Input<'_> {
    fn range(&mut self, length: usize) -> Result<std::ops::Range<usize>, Unreadable> {
        if length > self.end - self.at {
            return Err(Unreadable::Damaged);
        }
        let from = self.at;
        self.at += length;
        Ok(from..self.at)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Unreadable> {
        let range = self.range(length)?;
        Ok(&self.bytes[range])
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Unreadable> {
        self.take(LENGTH)?.try_into().map_err(|_| Unreadable::Damaged)
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, Unreadable> {
        let count = u32::from_le_bytes(self.array()?);
        usize::try_from(count).map_err(|_| Unreadable::Damaged)
    }

    fn short(&mut self) -> Result<&str, Unreadable> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| Unreadable::Damaged)
    }

    fn tag(&mut self) -> Result<Tag, Unreadable> {
        Tag::of(u32::from_le_bytes(self.array()?)).ok_or(Unreadable::Damaged)
    }

    fn state(&mut self) -> Result<State, Unreadable> {
        let written = Duration::from_millis(self.number()?);
        let secret = self.array()?;
        // The numbers are not believed before what they count is there: nothing is reserved for them.
        let mut logs = Vec::new();
        for _ in 0..self.count()? {
            logs.push(self.log()?);
        }
        Ok(State { written, secret, logs })
    }

    fn log(&mut self) -> Result<KeptLog, Unreadable> {
        let group = GroupName::new(self.short()?).map_err(|_| Unreadable::Damaged)?;
        let epoch = Epoch::of(self.number()?).ok_or(Unreadable::Damaged)?;
        let base = Position { epoch, offset: self.number()?, tag: self.tag()? };
        let mut entries: Vec<KeptEntry> = Vec::new();
        for _ in 0..self.count()? {
            let last = entries.last().map_or(base.offset, |entry| entry.position.offset);
            let entry = self.entry(epoch)?;
            if last.checked_add(1) != Some(entry.position.offset) {
                return Err(Unreadable::Damaged);
            }
            entries.push(entry);
        }
        Ok(KeptLog { group, base, entries })
    }

    fn entry(&mut self, epoch: Epoch) -> Result<KeptEntry, Unreadable> {
        let position = Position { epoch, offset: self.number()?, tag: self.tag()? };
        let age = Duration::from_millis(self.number()?);
        let mut left_out = Vec::new();
        let count =
            if self.version < 2 { usize::from(u16::from_le_bytes(self.array()?)) } else { self.count()? };
        for _ in 0..count {
            left_out.push(ChannelName::new(self.short()?).map_err(|_| Unreadable::Damaged)?);
        }
        let length = self.count()?;
        let range = self.range(length)?;
        Ok(KeptEntry { position, age, left_out, payload: self.bytes.slice(range) })
    }
}
