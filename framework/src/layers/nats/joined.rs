//! The groups that have members in this process, and of which of them NATS knows.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::GroupName;

/// Each group with whether NATS sends what is published to it. The lock is held for a look-up or an edit.
#[derive(Debug, Default)]
pub(super) struct Joined {
    groups: Mutex<HashMap<GroupName, bool>>,
    pub(super) changed: Notify,
}

impl Joined {
    fn groups(&self) -> MutexGuard<'_, HashMap<GroupName, bool>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a group up; false where it is there.
    pub(super) fn insert(&self, group: &GroupName) -> bool {
        let mut groups = self.groups();
        let new = !groups.contains_key(group);
        if new {
            groups.insert(group.clone(), false);
        }
        new
    }

    /// Forgets a group; false where it was not there.
    pub(super) fn remove(&self, group: &GroupName) -> bool {
        self.groups().remove(group).is_some()
    }

    pub(super) fn settle<'a>(&self, settled: impl IntoIterator<Item = &'a GroupName>) {
        let mut groups = self.groups();
        for group in settled {
            if let Some(settled) = groups.get_mut(group) {
                *settled = true;
            }
        }
        drop(groups);
        self.changed.notify_waiters();
    }

    /// Notes that NATS knows of none any more.
    pub(super) fn unsettle(&self) {
        self.groups().values_mut().for_each(|settled| *settled = false);
    }

    /// Whether NATS knows of the group; `None` where it was not taken up yet.
    pub(super) fn is_settled(&self, group: &GroupName) -> Option<bool> {
        self.groups().get(group).copied()
    }

    pub(super) fn all(&self) -> Vec<GroupName> {
        self.groups().keys().cloned().collect()
    }
}
