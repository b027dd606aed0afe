//! The groups that have members in this process, and which of them a server was told of.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::future::select;
use tokio::sync::Notify;

use super::status::Status;
use crate::GroupName;

/// Which groups the server was told of, each under a number of its own. The lock is held for a look-up or an edit.
#[derive(Debug, Default)]
pub(in crate::layers) struct Members {
    table: Mutex<GroupTable>,
    pub(in crate::layers) changed: Notify,
}

#[derive(Debug, Default)]
struct GroupTable {
    groups: HashMap<GroupName, GroupEntry>,
    numbers: HashMap<u64, GroupName>,
    next: u64,
}

#[derive(Debug)]
struct GroupEntry {
    number: u64,
    /// Whether the server has it, or has refused it: nobody waits for it any more.
    settled: bool,
}

impl Members {
    fn table(&self) -> MutexGuard<'_, GroupTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is so: it is looked at now, and whenever members or the state of a server have changed.
    pub(in crate::layers) async fn wait_until(&self, status: &Status, so: impl Fn() -> bool) {
        loop {
            // It is looked at after the wait for a change of either has begun.
            let mut members = pin!(self.changed.notified());
            let mut servers = pin!(status.changed.notified());
            members.as_mut().enable();
            servers.as_mut().enable();
            if so() {
                return;
            }
            select(members, servers).await;
        }
    }

    /// Takes a group up, under a new number; `None` where it is there.
    pub(in crate::layers) fn insert(&self, group: &GroupName) -> Option<u64> {
        let mut table = self.table();
        if table.groups.contains_key(group) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.groups.insert(group.clone(), GroupEntry { number, settled: false });
        table.numbers.insert(number, group.clone());
        Some(number)
    }

    /// Forgets a group, and says which number it had, unless it has members again.
    ///
    /// Who joins after that finds it forgotten, and waits until the server has it anew. So the lock is held over the look at the
    /// group, whose own is taken in it.
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

    /// Notes that the server has these, unless they were forgotten meanwhile, and taken up under another number.
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

    pub(in crate::layers) fn unsettle(&self, lost: impl Fn(&GroupName) -> bool) {
        for (group, member) in &mut self.table().groups {
            member.settled &= !lost(group);
        }
    }

    /// Whether the server knows of the group; `None` where it was not taken up yet.
    pub(in crate::layers) fn is_settled(&self, group: &GroupName) -> Option<bool> {
        self.table().groups.get(group).map(|member| member.settled)
    }

    /// The number under which the server has a group, where it does.
    #[cfg(feature = "redis")]
    pub(in crate::layers) fn settled_as(&self, group: &GroupName) -> Option<u64> {
        self.table().groups.get(group).filter(|member| member.settled).map(|member| member.number)
    }

    /// The group with this number; `None` where it has no member here any more.
    #[cfg(feature = "redis")]
    pub(in crate::layers) fn numbered(&self, number: u64) -> Option<GroupName> {
        self.table().numbers.get(&number).cloned()
    }

    /// All groups that are wanted.
    pub(in crate::layers) fn groups(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<GroupName> {
        self.all(wanted).into_iter().map(|(group, _)| group).collect()
    }

    /// All groups that are wanted, with their numbers.
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
    fn an_answer_settles_what_was_asked_for_and_nothing_later() {
        let (members, room) = (Members::default(), GroupName::new("room").unwrap());
        let first = members.insert(&room).unwrap();
        assert_eq!(members.remove(&room, || false), Some(first));
        let second = members.insert(&room).unwrap();
        members.settle(&[(room.clone(), first)]);
        assert_eq!(members.is_settled(&room), Some(false), "who joined later waits on");
        members.settle(&[(room.clone(), second)]);
        assert_eq!(members.is_settled(&room), Some(true));
    }

    #[test]
    fn a_group_that_has_members_again_is_not_forgotten() {
        let (members, room) = (Members::default(), GroupName::new("room").unwrap());
        let number = members.insert(&room).unwrap();
        members.settle(&[(room.clone(), number)]);
        // Who joined just now saw that it is settled, and does not wait.
        assert_eq!(members.remove(&room, || true), None);
        assert_eq!(members.is_settled(&room), Some(true));
    }
}
