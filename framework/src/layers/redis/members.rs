//! The groups that have members in this process, and the one name that this process has in each.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::GroupName;

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

    /// Forgets a group, and says which number it had.
    pub(super) fn remove(&self, group: &GroupName) -> Option<u64> {
        let mut table = self.table();
        let member = table.groups.remove(group)?;
        table.numbers.remove(&member.number);
        Some(member.number)
    }

    pub(super) fn settle<'a>(&self, groups: impl IntoIterator<Item = &'a GroupName>) {
        let mut table = self.table();
        for group in groups {
            if let Some(member) = table.groups.get_mut(group) {
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

    /// The group of this process' name with this local part; `None` where it is no such name.
    ///
    /// `Some(None)` is a group that has no member here any more.
    pub(super) fn group_of(&self, local: &str) -> Option<Option<GroupName>> {
        let number: u64 = local.strip_prefix(MARK)?.parse().ok()?;
        Some(self.table().numbers.get(&number).cloned())
    }

    /// All groups that are wanted, with their numbers.
    pub(super) fn all(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<(GroupName, u64)> {
        let table = self.table();
        let all = table.groups.iter().filter(|(group, _)| wanted(group));
        all.map(|(group, member)| (group.clone(), member.number)).collect()
    }
}

/// The name of a process in a group.
pub(super) fn name(process: &str, number: u64) -> String {
    format!("{process}{MARK}{number}")
}
