//! Reads a part of a log.

use bytes::Bytes;
use redis::{Pipeline, Value};

use super::{
    entry::{Nonce, Place, RawEntry, read_epoch, tag},
    scripts::state_seconds,
};
use crate::{
    GroupName,
    groups::history::{
        policy::History,
        position::{Position, Tag},
        store::Part,
    },
    layers::redis::{
        link::{flat, score},
        names::log_keys,
    },
};

/// What is read of which log.
#[derive(Debug, Clone)]
pub(in crate::layers::redis) struct LogQuery {
    pub(in crate::layers::redis) group: GroupName,
    pub(in crate::layers::redis) policy: History,
    pub(in crate::layers::redis) part: Part,
    pub(in crate::layers::redis) most: usize,
    /// The newest place that this process has seen.
    pub(in crate::layers::redis) seen: Option<Position>,
}

/// The state of a log, as the server has it at one moment.
#[derive(Debug, Default)]
pub(in crate::layers::redis) struct RawState {
    /// The place behind the newest entry. `None` if the server has no such log.
    pub(in crate::layers::redis) top: Option<Position>,
    /// The newest mark of events that are in no log.
    pub(in crate::layers::redis) foreign: f64,
}

impl RawState {
    /// Adds the command that reads a state.
    pub(in crate::layers::redis) fn ask(key: &str, commands: &mut Pipeline) {
        commands.cmd("HMGET").arg(key).arg(&["e", "s", "t", "w"]);
    }

    /// Reads the reply. `None` if it is something else.
    pub(in crate::layers::redis) fn read(reply: Value) -> Option<Self> {
        let mut fields = list(reply)?.into_iter().map(|field| flat(field).pop());
        let epoch = fields.next()?.and_then(|epoch| read_epoch(&epoch));
        let offset = fields.next()?.map_or(0, |offset| score(&offset) as u64);
        let tag = fields.next()?.and_then(|bytes| tag(&bytes)).unwrap_or(Tag::NONE);
        let foreign = fields.next()?.map_or(0.0, |mark| score(&mark));
        Some(Self { top: epoch.map(|epoch| Position { epoch, offset, tag }), foreign })
    }
}

/// A log as the server has it, at one moment.
#[derive(Debug)]
pub(in crate::layers::redis) struct RawLog {
    pub(in crate::layers::redis) state: RawState,
    /// In ascending order. None is missing between two of them.
    pub(in crate::layers::redis) entries: Vec<RawEntry>,
    /// Whether the server has lost entries that this process has seen.
    pub(in crate::layers::redis) is_rolled_back: bool,
}

impl RawLog {
    /// Where the entry of an append is, if it is among these.
    pub(in crate::layers::redis) fn find(&self, nonce: Nonce, tag: Tag) -> Option<Place> {
        let entry = self.entries.iter().rev().find(|entry| entry.nonce == nonce && entry.tag == tag)?;
        Some(Place {
            at: Position { epoch: self.state.top?.epoch, offset: entry.offset, tag },
            prev: entry.prev,
        })
    }
}

impl LogQuery {
    /// How many commands a query is.
    pub(in crate::layers::redis) const COMMANDS: usize = 7;

    /// Adds the commands. The reply to the last of them has all that is read.
    ///
    /// A transaction of Redis is four times as fast as a script that reads the same.
    pub(in crate::layers::redis) fn add_to(&self, prefix: &str, commands: &mut Pipeline) {
        let [state, entries] = log_keys(prefix, &self.group);
        commands.cmd("MULTI").cmd("TIME");
        RawState::ask(&state, commands);
        let most = self.most.clamp(1, History::MOST);
        match self.part {
            Part::After(place) => {
                let from = format!("{}-0", place.offset.saturating_add(1));
                commands.cmd("XRANGE").arg(&entries).arg(from).arg("+");
            }
            Part::Before(offset) => {
                let from = format!("{}-0", offset.saturating_sub(1));
                commands.cmd("XREVRANGE").arg(&entries).arg(from).arg("-");
            }
            Part::Newest => {
                commands.cmd("XREVRANGE").arg(&entries).arg("+").arg("-");
            }
        }
        commands.arg("COUNT").arg(most);
        // The newest entry that this process has seen, and the next one.
        let seen = self.seen.map_or(0, |seen| seen.offset);
        commands.cmd("XRANGE").arg(&entries).arg(format!("{seen}-0"));
        commands.arg(format!("{}-0", seen.saturating_add(1)));
        // A log that is read is in use, also if nothing is appended.
        commands.cmd("EXPIRE").arg(&state).arg(state_seconds(self.policy));
        commands.cmd("EXEC");
    }

    /// Reads the reply to the last command. `None` if it is something else.
    pub(in crate::layers::redis) fn read(&self, reply: Value) -> Option<RawLog> {
        let mut parts = list(reply)?.into_iter();
        let now = flat(parts.next()?).first().map_or(0.0, |seconds| score(seconds));
        let state = RawState::read(parts.next()?)?;
        let mut entries = entries(parts.next()?)?;
        let beside = self::entries(parts.next()?)?;
        // Up from the first one, or down from the newest one.
        let stand_side_by_side = |pair: &&[RawEntry]| pair[0].offset.abs_diff(pair[1].offset) == 1;
        let whole = entries.windows(2).take_while(stand_side_by_side).count() + 1;
        entries.truncate(whole.min(self.most));
        if !matches!(self.part, Part::After(_)) {
            // Redis forgets entries only when newer ones come, or all together. These are too old to be shown.
            let oldest = now - self.policy.time().as_secs_f64();
            entries.retain(|entry| f64::from(entry.seconds) >= oldest);
            entries.reverse();
        }
        let is_rolled_back = match (self.seen, state.top) {
            (Some(seen), Some(top)) if seen.epoch == top.epoch => {
                let says_otherwise = |entry: &RawEntry| {
                    if entry.offset == seen.offset { entry.tag != seen.tag } else { entry.prev != seen.tag }
                };
                top.offset < seen.offset
                    || (top.offset == seen.offset && top.tag != seen.tag)
                    || beside.iter().any(says_otherwise)
            }
            _ => false,
        };
        Some(RawLog { state, entries, is_rolled_back })
    }
}

fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// The entries of a reply. What another program has put among them is left out.
fn entries(reply: Value) -> Option<Vec<RawEntry>> {
    let read = |entry: Value| {
        let mut parts = flat(entry).into_iter();
        let (id, _field, bytes) = (parts.next()?, parts.next()?, parts.next()?);
        RawEntry::read(&id, Bytes::from(bytes))
    };
    Some(list(reply)?.into_iter().filter_map(read).collect())
}
