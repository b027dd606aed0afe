//! What a layer that tells its server of the members here has still to tell it.

use std::{
    collections::{HashMap, HashSet, hash_map},
    sync::{Arc, PoisonError},
};

use tokio::sync::Notify;

use super::key::Key;
use crate::{
    ChannelName, GroupName,
    sync::{Mutex, MutexGuard},
};

/// What is noted: for most layers nothing, for others one of the two.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    pub(super) groups: Option<Arc<GroupChanges>>,
    pub(super) members: Option<Arc<MemberChanges>>,
}

impl Watch {
    /// Notes that a group has got its first member, or lost its last.
    pub(super) fn note_group(&self, group: &GroupName) {
        if let Some(changes) = &self.groups {
            changes.note(group);
        }
    }

    /// Notes that a consumer has joined a group, or left it.
    pub(super) fn note_consumer(&self, group: &GroupName, hub: u64, key: Key, is_in: bool) {
        if let Some(changes) = &self.members {
            changes.note(group, ChangedMember::Consumer { hub, key }, is_in);
        }
    }

    /// Notes that a queue has joined a group, or left it.
    pub(super) fn note_queue(&self, group: &GroupName, channel: &ChannelName, is_in: bool) {
        if let Some(changes) = &self.members {
            changes.note(group, ChangedMember::Queue(channel.clone()), is_in);
        }
    }
}

/// The groups whose first member in this process has come, or whose last one has left.
///
/// Each is in it once, however often that happened: who reads it looks how the group is then. Its lock is the last that is taken.
#[derive(Debug, Default)]
pub(super) struct GroupChanges {
    groups: Mutex<HashSet<GroupName>>,
    noted: Notify,
}

impl GroupChanges {
    fn note(&self, group: &GroupName) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group.clone());
        self.noted.notify_one();
    }

    /// Waits until there are some, and takes them.
    pub(super) async fn next(&self) -> Vec<GroupName> {
        loop {
            let groups = std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
            if !groups.is_empty() {
                return groups.into_iter().collect();
            }
            self.noted.notified().await;
        }
    }
}

/// A member, by what its channel's name is made of: that is written only where it is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChangedMember {
    Consumer { hub: u64, key: Key },
    Queue(ChannelName),
}

/// The members that have joined or left, each of them: for a layer that tells its server every name.
///
/// One that comes and goes before it was told is not in it, so there are no more than members that are here or were told.
/// Its lock is the last that is taken.
#[derive(Debug, Default)]
pub(crate) struct MemberChanges {
    pending: Mutex<Pending>,
    noted: Notify,
}

/// Who has joined (true) or left which group since the last time, in no order.
pub(crate) type Changed = HashMap<GroupName, HashMap<ChangedMember, bool>>;

#[derive(Debug, Default)]
struct Pending {
    groups: Changed,
    /// How many changes there were in all.
    count: u64,
}

impl MemberChanges {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, group: &GroupName, member: ChangedMember, is_in: bool) {
        self.pending().note(group, member, is_in);
        self.noted.notify_one();
    }

    /// Waits until a change was noted since the last wait.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "no layer here tells its server of each member")
    )]
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// How many there were in all.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "no layer here tells its server of each member")
    )]
    pub(crate) fn count(&self) -> u64 {
        self.pending().count
    }

    /// Takes those since the last time, and says how many there were in all.
    #[cfg_attr(
        not(any(feature = "redis", test)),
        expect(dead_code, reason = "no layer here tells its server of each member")
    )]
    pub(crate) fn take(&self) -> (Changed, u64) {
        let mut pending = self.pending();
        (std::mem::take(&mut pending.groups), pending.count)
    }
}

impl Pending {
    fn note(&mut self, group: &GroupName, member: ChangedMember, is_in: bool) {
        self.count += 1;
        if !self.groups.contains_key(group) {
            self.groups.insert(group.clone(), HashMap::new());
        }
        let Some(members) = self.groups.get_mut(group) else { return };
        match members.entry(member) {
            // Joining and leaving take turns: with the second all is as it was told.
            hash_map::Entry::Occupied(before) if *before.get() != is_in => {
                before.remove();
                if members.is_empty() {
                    self.groups.remove(group);
                }
            }
            entry => {
                entry.insert_entry(is_in);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_untold_is_not_told() {
        let changes = MemberChanges::default();
        let room = GroupName::new("room").unwrap();
        let member = |serial| ChangedMember::Consumer { hub: 1, key: Key { slot: 0, serial } };
        for serial in 0..1_000 {
            changes.note(&room, member(serial), true);
            changes.note(&room, member(serial), false);
        }
        assert!(changes.pending().groups.is_empty(), "nothing is kept of those");
        changes.note(&room, member(1_000), true);
        let (changed, count) = changes.take();
        assert_eq!((changed[&room].len(), changed[&room][&member(1_000)], count), (1, true, 2_001));
        // It was told: it leaves, and comes again.
        changes.note(&room, member(1_000), false);
        assert!(!changes.take().0[&room][&member(1_000)]);
        changes.note(&room, member(1_000), true);
        changes.note(&room, member(1_000), false);
        assert!(changes.take().0.is_empty());
    }
}
