//! The process' own logs, for when JetStream cannot be used.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    GroupName,
    groups::history::{
        position::{Epoch, Position},
        store::{LogRead, Part},
    },
};

/// How many groups are remembered. Then all logs begin anew.
const GROUPS: usize = 1 << 16;

/// The epochs of the process' own logs. Their entries are only where the members are served from.
///
/// The lock is held only for a look-up or an edit.
#[derive(Debug, Default)]
pub(in crate::layers::nats) struct OwnLogs(Mutex<HashMap<GroupName, Epoch>>);

impl OwnLogs {
    /// The epoch of a group's log.
    pub(in crate::layers::nats) fn epoch(&self, group: &GroupName) -> Epoch {
        let mut epochs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = epochs.get(group) {
            return *epoch;
        }
        if epochs.len() >= GROUPS {
            epochs.clear();
        }
        *epochs.entry(group.clone()).or_insert_with(Epoch::fresh)
    }

    /// Ends a log, because this process does not hear what others send to the group any more.
    pub(super) fn end(&self, group: &GroupName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(group);
    }

    /// Ends all logs.
    pub(in crate::layers::nats) fn end_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What can be read of a log: its end, which is what this process has seen of it.
    pub(in crate::layers::nats) fn read(
        &self,
        group: &GroupName,
        part: Part,
        seen: Option<Position>,
    ) -> LogRead {
        let epoch = self.epoch(group);
        let top = seen.filter(|seen| seen.epoch == epoch).unwrap_or(Position::start(epoch));
        let anchor = match part {
            Part::After(place) if place == top => Some(top.tag),
            Part::After(_) | Part::Before(_) | Part::Newest => None,
        };
        LogRead { top, anchor, entries: Vec::new(), foreign: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::history::position::Tag;

    #[test]
    fn an_own_log_goes_on_from_what_was_seen() {
        let (logs, room) = (OwnLogs::default(), GroupName::new("room").unwrap());
        let start = logs.read(&room, Part::Newest, None).top;
        let seen = Position { offset: 7, tag: Tag::fresh(), ..start };
        let read = logs.read(&room, Part::After(start), Some(seen));
        assert_eq!((read.top, read.anchor), (seen, None), "only the end is known here");
        assert_eq!(logs.read(&room, Part::After(seen), Some(seen)).anchor, Some(seen.tag));
        let stream = Position { epoch: Epoch::fresh(), ..seen };
        assert_eq!(logs.read(&room, Part::After(stream), Some(stream)).top, start, "it was another log");
        logs.end(&room);
        assert_ne!(logs.read(&room, Part::Newest, Some(seen)).top.epoch, seen.epoch, "it begins anew");
    }
}
