//! The changes of groups and members that a layer still has to tell its server.

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

/// Which changes are noted. Most layers need neither list, some need one of the two.
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

/// The groups that got their first member in this process, or lost their last one.
///
/// A group is listed once, however often it changed. The reader looks up the group's present state. The lock is the
/// last that is taken.
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

    /// Waits until some groups have changed, and takes them.
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

/// A member that joined or left, by the parts of its channel's name.
///
/// The name itself is made only when the server is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChangedMember {
    Consumer { hub: u64, key: Key },
    Queue(ChannelName),
}

/// All members that have joined or left, for a layer that tells its server every name.
///
/// If a member joins and leaves before the server was told, it is not listed. So the list has at most the members that
/// this process has or that the server was told of. The lock is the last that is taken.
#[derive(Debug, Default)]
pub(crate) struct MemberChanges {
    pending: Mutex<Pending>,
    noted: Notify,
}

/// The members of each group that have joined (true) or left (false).
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

    /// How many changes there have been in all.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "no layer here tells its server of each member")
    )]
    pub(crate) fn count(&self) -> u64 {
        self.pending().count
    }

    /// Takes the changes since the last call, and says how many there have been in all.
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
            // A join and a leave undo each other: the server's knowledge is right as it is.
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
    fn a_member_that_leaves_before_its_join_was_told_is_not_told() {
        let changes = MemberChanges::default();
        let room = GroupName::new("room").unwrap();
        let member = |serial| ChangedMember::Consumer { hub: 1, key: Key { slot: 0, serial } };
        for serial in 0..1_000 {
            changes.note(&room, member(serial), true);
            changes.note(&room, member(serial), false);
        }
        assert!(changes.pending().groups.is_empty(), "nothing is kept of members that left");
        changes.note(&room, member(1_000), true);
        let (changed, count) = changes.take();
        assert_eq!((changed[&room].len(), changed[&room][&member(1_000)], count), (1, true, 2_001));
        // The server was told of it. Then the member leaves, and joins again.
        changes.note(&room, member(1_000), false);
        assert!(!changes.take().0[&room][&member(1_000)]);
        changes.note(&room, member(1_000), true);
        changes.note(&room, member(1_000), false);
        assert!(changes.take().0.is_empty());
    }
}
