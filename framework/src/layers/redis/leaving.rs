//! The topics of groups that have lost their last member, until Redis has been told.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The topics, and how often Redis has still to be told of each. The lock is held only for an edit.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<HashMap<String, usize>>);

impl Leaving {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, topics: impl IntoIterator<Item = String>) {
        let mut leaving = self.lock();
        for topic in topics {
            *leaving.entry(topic).or_default() += 1;
        }
    }

    pub(super) fn remove(&self, topics: impl IntoIterator<Item = String>) {
        let mut leaving = self.lock();
        for topic in topics {
            if let Some(times) = leaving.get_mut(&topic) {
                *times -= 1;
                if *times == 0 {
                    leaving.remove(&topic);
                }
            }
        }
    }

    pub(super) fn has(&self, topic: &str) -> bool {
        self.lock().contains_key(topic)
    }
}
