//! The groups whose members here have an event that is not in the group's log.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::GroupName;

/// How many groups are remembered. Of further ones, the other processes do not learn.
const GROUPS: usize = 1 << 16;

/// The groups whose members here alone have an event, because the server did not take it, and how many such events.
/// They are kept until the streams say so.
///
/// The lock is held only for an edit.
#[derive(Debug, Default)]
pub(in crate::layers::nats) struct UnloggedGroups(Mutex<HashMap<GroupName, u64>>);

impl UnloggedGroups {
    fn counts(&self) -> MutexGuard<'_, HashMap<GroupName, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::layers::nats) fn note(&self, group: &GroupName) {
        let mut counts = self.counts();
        if counts.len() < GROUPS || counts.contains_key(group) {
            *counts.entry(group.clone()).or_default() += 1;
        }
    }

    /// The groups, and how many such events each has.
    pub(super) fn all(&self) -> Vec<(GroupName, u64)> {
        self.counts().iter().map(|(group, count)| (group.clone(), *count)).collect()
    }

    /// Forgets a group, unless it has more such events by now.
    pub(super) fn forget(&self, group: &GroupName, count: u64) {
        let mut counts = self.counts();
        if counts.get(group) == Some(&count) {
            counts.remove(group);
        }
    }
}
