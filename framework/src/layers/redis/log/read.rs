//! Reads a part of a log.

use std::time::Duration;

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

/// By how much the clocks of two servers may differ, of which one takes over from the other.
const SKEW: Duration = Duration::from_secs(5);

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
    /// The policy of the program that has appended last.
    pub(in crate::layers::redis) policy: Option<String>,
}

impl RawState {
    /// Adds the command that reads a state.
    pub(in crate::layers::redis) fn ask(key: &str, commands: &mut Pipeline) {
        commands.cmd("HMGET").arg(key).arg(&["e", "s", "t", "w", "p"]);
    }

    /// Reads the reply. `None` if it is something else.
    pub(in crate::layers::redis) fn read(reply: Value) -> Option<Self> {
        let mut fields = list(reply)?.into_iter().map(|field| flat(field).pop());
        let epoch = fields.next()?.and_then(|epoch| read_epoch(&epoch));
        let offset = fields.next()?.map_or(0, |offset| score(&offset) as u64);
        let tag = fields.next()?.and_then(|bytes| tag(&bytes)).unwrap_or(Tag::NONE);
        let foreign = fields.next()?.map_or(0.0, |mark| score(&mark));
        // Nobody knows who has written this. A policy is short.
        let policy = fields.next()?.map(|policy| String::from_utf8_lossy(&policy).chars().take(64).collect());
        Some(Self { top: epoch.map(|epoch| Position { epoch, offset, tag }), foreign, policy })
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
    /// Seconds since 1970 when it was read, by the clock of the server.
    pub(in crate::layers::redis) now: f64,
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

    /// Whether these newest entries are all that were appended since a time: so long ago, when this process had seen the
    /// log up to `seen`.
    pub(in crate::layers::redis) fn has_all_since(&self, seen: Option<Position>, ago: Duration) -> bool {
        let Some(top) = self.state.top else { return true };
        // Nothing of another epoch is in this one.
        let seen = seen.filter(|seen| seen.epoch == top.epoch).map_or(0, |seen| seen.offset);
        let Some(first) = self.entries.first() else { return top.offset <= seen };
        let has_newest = self.entries.last().is_some_and(|last| last.offset == top.offset);
        let is_older = || self.now - f64::from(first.seconds) > (ago + SKEW).as_secs_f64();
        has_newest && (first.offset.saturating_sub(1) <= seen || is_older())
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
        Some(RawLog { state, entries, is_rolled_back, now })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::history::position::Epoch;

    /// The newest entries of a log, up to an offset: one each second, the last one just now.
    fn newest(count: u64, top: u64) -> RawLog {
        let entry = |offset: u64| RawEntry {
            offset,
            tag: Tag::NONE,
            prev: Tag::NONE,
            nonce: Nonce::default(),
            seconds: 1_790_000_000 - (top - offset) as u32,
            sealed: Bytes::new(),
        };
        let state = RawState { top: Some(place(1, top)), ..RawState::default() };
        let entries = (top - count + 1..=top).map(entry).collect();
        RawLog { state, entries, is_rolled_back: false, now: 1_790_000_000.0 }
    }

    fn place(epoch: u64, offset: u64) -> Position {
        Position { offset, ..Position::start(Epoch::of(epoch).unwrap()) }
    }

    #[test]
    fn an_append_is_missing_only_from_a_log_that_reaches_back_to_it() {
        let second = Duration::from_secs(1);
        let has_all = |log: &RawLog, seen| log.has_all_since(seen, second);
        let log = newest(2, 7);
        assert!(has_all(&log, Some(place(1, 5))) && has_all(&log, Some(place(1, 7))));
        assert!(!has_all(&log, Some(place(1, 4))), "5 is gone");
        assert!(!has_all(&log, None) && has_all(&newest(3, 3), None), "a log from its start on");
        assert!(
            !has_all(&log, Some(place(2, 7))) && has_all(&newest(3, 3), Some(place(2, 7))),
            "another epoch"
        );
        // All entries are gone, or the newest one is.
        assert!(!has_all(&newest(0, 7), Some(place(1, 6))) && has_all(&newest(0, 7), Some(place(1, 7))));
        let mut behind = newest(3, 7);
        behind.entries.pop();
        assert!(!has_all(&behind, Some(place(1, 6))));
        // There is none, so it has nothing.
        assert!(has_all(&RawLog { state: RawState::default(), ..newest(0, 0) }, Some(place(1, 4))));
    }

    #[test]
    fn an_entry_from_before_an_append_is_seen_by_its_age() {
        // The first of these is 19 s old.
        let log = newest(20, 100);
        assert!(log.has_all_since(None, Duration::from_secs(13)));
        assert!(!log.has_all_since(None, Duration::from_secs(14)), "the clocks of servers differ");
    }
}
