//! The marks of events that another program has published to a group with a log.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::GroupName;

/// How many such events are counted from one process' joining on. After half of them this process joins again.
const COUNTED: u64 = 1 << 20;

/// For each group to which this process listens, the number of the process that joined last, and the events since.
///
/// All processes that listen on a server get its messages in the same order. So each gives an event the same mark, and
/// the next one a greater mark.
#[derive(Debug, Default)]
pub(super) struct Listening(Mutex<HashMap<GroupName, (u64, u64)>>);

/// The mark of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    /// `None` if this process has not heard its own joining yet, or has missed something.
    pub(super) mark: Option<f64>,
    /// Whether this process must join again.
    pub(super) is_due: bool,
}

impl Listening {
    fn table(&self) -> MutexGuard<'_, HashMap<GroupName, (u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a process has joined under this number, from which the next events are counted.
    pub(super) fn joined(&self, group: GroupName, number: u64) {
        self.table().insert(group, (number, 0));
    }

    /// The mark of the next event.
    pub(super) fn next(&self, group: &GroupName) -> Mark {
        let mut table = self.table();
        let Some((number, count)) = table.get_mut(group) else { return Mark { mark: None, is_due: true } };
        *count = (*count + 1).min(COUNTED - 1);
        Mark { mark: Some(first_mark(*number) + *count as f64), is_due: *count == COUNTED / 2 }
    }

    /// Notes that this process may have missed something.
    pub(super) fn forget(&self, group: &GroupName) {
        self.table().remove(group);
    }

    /// Forgets the groups for which `lost` returns true.
    pub(super) fn forget_all(&self, lost: impl Fn(&GroupName) -> bool) {
        self.table().retain(|group, _| !lost(group));
    }
}

/// What is less than each mark from a process' joining on, and greater than those before.
pub(super) fn first_mark(number: u64) -> f64 {
    // Exact: the number is a time in seconds, unless somebody else has published it.
    number as f64 * COUNTED as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_greater_than_those_before() {
        let (listening, room) = (Listening::default(), GroupName::new("room").unwrap());
        assert_eq!(listening.next(&room), Mark { mark: None, is_due: true });
        let mut last = 0.0_f64;
        for number in [1_790_000_000, 1_790_000_001, 4_294_967_295] {
            listening.joined(room.clone(), number);
            for _ in 0..3 {
                let Mark { mark, is_due } = listening.next(&room);
                let mark = mark.unwrap();
                assert!(mark > last.max(first_mark(number)) && mark < first_mark(number + 1) && !is_due);
                last = mark;
            }
        }
        listening.forget(&room);
        assert_eq!(listening.next(&room).mark, None);
    }

    /// Whoever may publish may name any number.
    #[test]
    fn a_number_may_be_any() {
        let (listening, room) = (Listening::default(), GroupName::new("room").unwrap());
        listening.joined(room.clone(), u64::MAX);
        assert!(listening.next(&room).mark.is_some_and(|mark| mark >= first_mark(u64::MAX)));
    }
}
