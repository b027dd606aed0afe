//! The groups that have members in this process, and which of them the server knows.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::select;
use tokio::sync::Notify;

use super::status::Status;
use crate::GroupName;

/// The groups of which the server was told, each under its own number. The lock is held only for a look-up or
/// an edit.
#[derive(Debug, Default)]
pub(in crate::layers) struct Members {
    table: Mutex<GroupTable>,
    pub(in crate::layers) changed: Notify,
}

#[derive(Debug, Default)]
struct GroupTable {
    groups: HashMap<GroupName, ToldGroup>,
    numbers: HashMap<u64, GroupName>,
    next: u64,
}

#[derive(Debug)]
struct ToldGroup {
    number: u64,
    /// Whether the server knows of the group, or has refused it. In both cases no caller waits for it any
    /// more.
    settled: bool,
}

impl Members {
    fn table(&self) -> MutexGuard<'_, GroupTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a condition holds.
    ///
    /// It is checked now, and whenever the members or the state of a server have changed.
    pub(in crate::layers) async fn wait_until(&self, status: &Status, holds: impl Fn() -> bool) {
        loop {
            // The condition is checked only after the wait for a change has begun, so that no change is
            // missed.
            let mut members = pin!(self.changed.notified());
            let mut servers = pin!(status.changed.notified());
            members.as_mut().enable();
            servers.as_mut().enable();
            if holds() {
                return;
            }
            select(members, servers).await;
        }
    }

    /// Adds a group under a new number. Returns `None` if the group is in the table already.
    pub(in crate::layers) fn insert(&self, group: &GroupName) -> Option<u64> {
        let mut table = self.table();
        if table.groups.contains_key(group) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.groups.insert(group.clone(), ToldGroup { number, settled: false });
        table.numbers.insert(number, group.clone());
        Some(number)
    }

    /// Removes a group, and returns the number that it had. Does nothing if the group has members again.
    ///
    /// A member that joins after that does not find the group, and waits until the server knows of it again.
    /// For this, the lock of this table is held while `has_members` is asked, which takes the lock of the
    /// directory.
    pub(in crate::layers) fn remove(
        &self,
        group: &GroupName,
        has_members: impl FnOnce() -> bool,
    ) -> Option<u64> {
        let mut table = self.table();
        if has_members() {
            return None;
        }
        let member = table.groups.remove(group)?;
        table.numbers.remove(&member.number);
        Some(member.number)
    }

    /// Notes that the server knows these groups.
    ///
    /// Groups that have another number by now are left out.
    pub(in crate::layers) fn settle<'a>(&self, groups: impl IntoIterator<Item = &'a (GroupName, u64)>) {
        let mut table = self.table();
        for (group, number) in groups {
            if let Some(member) = table.groups.get_mut(group).filter(|member| member.number == *number) {
                member.settled = true;
            }
        }
        drop(table);
        self.changed.notify_waiters();
    }

    /// Notes that the server may not know some groups any more.
    pub(in crate::layers) fn unsettle(&self, lost: impl Fn(&GroupName) -> bool) {
        for (group, member) in &mut self.table().groups {
            member.settled &= !lost(group);
        }
    }

    /// Whether the server knows of a group. `None` if the group is not in the table.
    pub(in crate::layers) fn is_settled(&self, group: &GroupName) -> Option<bool> {
        self.table().groups.get(group).map(|member| member.settled)
    }

    /// The number of a group, if the server knows of it.
    #[cfg(feature = "redis")]
    pub(in crate::layers) fn settled_as(&self, group: &GroupName) -> Option<u64> {
        self.table().groups.get(group).filter(|member| member.settled).map(|member| member.number)
    }

    /// The group with this number. `None` if it has no member in this process any more.
    #[cfg(feature = "redis")]
    pub(in crate::layers) fn numbered(&self, number: u64) -> Option<GroupName> {
        self.table().numbers.get(&number).cloned()
    }

    /// All groups for which `wanted` returns true.
    pub(in crate::layers) fn groups(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<GroupName> {
        self.all(wanted).into_iter().map(|(group, _)| group).collect()
    }

    /// All groups for which `wanted` returns true, with their numbers.
    pub(in crate::layers) fn all(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<(GroupName, u64)> {
        let table = self.table();
        let all = table.groups.iter().filter(|(group, _)| wanted(group));
        all.map(|(group, member)| (group.clone(), member.number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_settles_only_what_it_was_asked_for() {
        let (members, room) = (Members::default(), GroupName::new("room").unwrap());
        let first = members.insert(&room).unwrap();
        assert_eq!(members.remove(&room, || false), Some(first));
        let second = members.insert(&room).unwrap();
        members.settle(&[(room.clone(), first)]);
        assert_eq!(members.is_settled(&room), Some(false), "a member that joined later still waits");
        members.settle(&[(room.clone(), second)]);
        assert_eq!(members.is_settled(&room), Some(true));
    }

    #[test]
    fn a_group_that_has_members_again_is_not_forgotten() {
        let (members, room) = (Members::default(), GroupName::new("room").unwrap());
        let number = members.insert(&room).unwrap();
        members.settle(&[(room.clone(), number)]);
        // A member that has just joined saw that the group is settled, and does not wait.
        assert_eq!(members.remove(&room, || true), None);
        assert_eq!(members.is_settled(&room), Some(true));
    }
}
