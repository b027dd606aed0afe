//! The groups that have members in this process, and the one name that this process has in each.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{ChannelName, GroupName};

/// What the local part of such a name starts with: `specific.<process>!g.<number>`.
///
/// No consumer's channel is like it, whose first part is a number, and no queue's, which has no dot.
const MARK: &str = "g.";

/// Which groups Redis was told of. The lock is held for a look-up or an edit.
#[derive(Debug, Default)]
pub(super) struct Members {
    table: Mutex<Table>,
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<GroupName, Member>,
    numbers: HashMap<u64, GroupName>,
    next: u64,
}

#[derive(Debug)]
struct Member {
    number: u64,
    /// Whether Redis has it, or has refused it: nobody waits for it any more.
    settled: bool,
}

impl Members {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a group up, under a new number; `None` where it is there.
    pub(super) fn insert(&self, group: &GroupName) -> Option<u64> {
        let mut table = self.table();
        if table.groups.contains_key(group) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        table.groups.insert(group.clone(), Member { number, settled: false });
        table.numbers.insert(number, group.clone());
        Some(number)
    }

    /// Forgets a group, and says which number it had, unless it has members again.
    ///
    /// Who joins after that finds it forgotten, and waits until Redis has it anew. So the lock is held over the look at the
    /// group, whose own is taken in it.
    pub(super) fn remove(&self, group: &GroupName, has_members: impl FnOnce() -> bool) -> Option<u64> {
        let mut table = self.table();
        if has_members() {
            return None;
        }
        let member = table.groups.remove(group)?;
        table.numbers.remove(&member.number);
        Some(member.number)
    }

    /// Notes that Redis has these, unless they were forgotten meanwhile, and taken up under another number.
    pub(super) fn settle<'a>(&self, groups: impl IntoIterator<Item = &'a (GroupName, u64)>) {
        let mut table = self.table();
        for (group, number) in groups {
            if let Some(member) = table.groups.get_mut(group).filter(|member| member.number == *number) {
                member.settled = true;
            }
        }
        drop(table);
        self.changed.notify_waiters();
    }

    pub(super) fn unsettle(&self, lost: impl Fn(&GroupName) -> bool) {
        for (group, member) in &mut self.table().groups {
            member.settled &= !lost(group);
        }
    }

    /// Whether Redis knows of the group; `None` where it was not taken up yet.
    pub(super) fn is_settled(&self, group: &GroupName) -> Option<bool> {
        self.table().groups.get(group).map(|member| member.settled)
    }

    /// The number under which Redis has a group, where it does.
    pub(super) fn settled_as(&self, group: &GroupName) -> Option<u64> {
        self.table().groups.get(group).filter(|member| member.settled).map(|member| member.number)
    }

    /// The group of this process' name with this local part; `None` where it is no such name.
    ///
    /// `Some(None)` is a group that has no member here any more.
    pub(super) fn group_of(&self, local: &str) -> Option<Option<GroupName>> {
        Some(self.table().numbers.get(&number(local)?).cloned())
    }

    /// All groups that are wanted, with their numbers.
    pub(super) fn all(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<(GroupName, u64)> {
        let table = self.table();
        let all = table.groups.iter().filter(|(group, _)| wanted(group));
        all.map(|(group, member)| (group.clone(), member.number)).collect()
    }
}

/// The name of a process in a group.
pub(super) fn name(process: &str, number: u64) -> ChannelName {
    ChannelName::new(format!("{process}{MARK}{number}"))
        .expect("letters, digits, dots and a `!`, at most 60 of them")
}

/// The number in the local part of such a name; `None` where it is no such name.
pub(super) fn number(local: &str) -> Option<u64> {
    local.strip_prefix(MARK)?.parse().ok()
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
