//! The members that are behind in the log of a group.
//!
//! A member is behind if it comes back to an earlier place, or if it had no room for an entry. It is served from the log
//! as it gets room ([`catching_up`](super::catching_up)), and what is sent to its group meanwhile passes it by: it finds
//! that in the log too. At the end of the log it is a member like all others.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use smallvec::SmallVec;

use super::{
    history::{log::Log, position::Position},
    key::Key,
    member::Member,
};

/// Tables with room for more than this give memory back when they are empty.
const WORTH_SHRINKING: usize = 64;

/// The members of a hub that are behind.
#[derive(Default)]
pub(super) struct Behind {
    members: RefCell<HashMap<Key, Places>>,
    /// How many members are behind. While this is 0, nothing else in this type is looked at.
    count: Cell<usize>,
    /// How many members may wait for their thread in a log, at most.
    waiting: Cell<usize>,
    /// The members that can be served now, each once.
    queue: RefCell<VecDeque<Key>>,
    pub(super) task: Cell<Option<Waker>>,
}

/// The logs in which one member is behind.
#[derive(Default)]
struct Places {
    list: SmallVec<[Place; 1]>,
    /// Whether it stands in the queue.
    is_queued: bool,
}

/// How far a member has come in one log.
pub(super) struct Place {
    log: Arc<Log>,
    /// `None` if it has joined before the log was open.
    pub(super) cursor: Option<Position>,
    pub(super) hold: Hold,
    /// Whether the server was asked for what comes here.
    was_read: bool,
}

/// What a member waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// For nothing: it is served next.
    Free,
    /// For a decision: where it goes on, or whether a server has what is missing.
    Decision,
    /// For room in its inbox or outbox.
    Room,
    /// For its thread, which has not come to its place in the log yet.
    Thread,
}

impl Behind {
    pub(super) fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    /// Notes that a member goes on from a place.
    pub(super) fn put(&self, member: &dyn Member, log: &Arc<Log>, cursor: Option<Position>, hold: Hold) {
        member.memberships().set_behind(&log.group, true);
        let key = member.key();
        let mut members = self.members.borrow_mut();
        let places = &mut members.entry(key).or_default().list;
        let place = Place { log: Arc::clone(log), cursor, hold, was_read: false };
        match places.iter_mut().find(|place| place.log.alias == log.alias) {
            Some(known) => *known = place,
            None => places.push(place),
        }
        self.count.set(members.len());
        drop(members);
        self.note_hold(key, hold);
    }

    /// Changes what a member waits for. Does nothing if it is not behind in this log.
    pub(super) fn set_hold(&self, key: Key, log: &Log, hold: Hold) {
        self.with_place(key, log, |place| place.hold = hold);
        self.note_hold(key, hold);
    }

    fn note_hold(&self, key: Key, hold: Hold) {
        match hold {
            Hold::Free => self.wake(key),
            Hold::Thread => self.waiting.set(self.waiting.get() + 1),
            Hold::Decision | Hold::Room => {}
        }
    }

    pub(super) fn with_place<R>(
        &self,
        key: Key,
        log: &Log,
        change: impl FnOnce(&mut Place) -> R,
    ) -> Option<R> {
        let mut members = self.members.borrow_mut();
        let places = &mut members.get_mut(&key)?.list;
        places.iter_mut().find(|place| place.log.alias == log.alias).map(change)
    }

    /// Has the members looked at again that wait for this thread in a log.
    pub(super) fn wake_log(&self, log: &Log) {
        if self.waiting.get() == 0 {
            return;
        }
        let mut waiting = 0;
        let mut woken = Vec::new();
        for (key, places) in &mut *self.members.borrow_mut() {
            for place in places.list.iter_mut().filter(|place| place.hold == Hold::Thread) {
                if place.log.alias == log.alias {
                    place.hold = Hold::Free;
                    woken.push(*key);
                } else {
                    waiting += 1;
                }
            }
        }
        self.waiting.set(waiting);
        for key in woken {
            self.wake(key);
        }
    }

    /// Notes that a member has room again.
    pub(super) fn note_room(&self, key: Key) {
        if self.is_empty() {
            return;
        }
        let mut members = self.members.borrow_mut();
        let Some(places) = members.get_mut(&key) else { return };
        let mut waited = false;
        for place in places.list.iter_mut().filter(|place| place.hold == Hold::Room) {
            place.hold = Hold::Free;
            waited = true;
        }
        drop(members);
        if waited {
            self.wake(key);
        }
    }

    /// Takes a member out of the table, in one log or in all.
    pub(super) fn remove(&self, key: Key, log: Option<&Log>) {
        if self.is_empty() {
            return;
        }
        let mut members = self.members.borrow_mut();
        let is_empty = members.get_mut(&key).is_some_and(|places| {
            places.list.retain(|place| log.is_some_and(|log| place.log.alias != log.alias));
            places.list.is_empty()
        });
        if is_empty {
            members.remove(&key);
        }
        if members.is_empty() && members.capacity() > WORTH_SHRINKING {
            members.shrink_to_fit();
        }
        self.count.set(members.len());
    }

    pub(super) fn move_on(&self, key: Key, log: &Log, cursor: Position) {
        self.with_place(key, log, |place| (place.cursor, place.was_read) = (Some(cursor), false));
    }

    /// Notes that a server is asked for what comes next for a member. False if it was asked for the same before.
    pub(super) fn note_read(&self, key: Key, log: &Log) -> bool {
        self.with_place(key, log, |place| !std::mem::replace(&mut place.was_read, true)).unwrap_or(false)
    }

    /// The logs in which a member can be served now.
    pub(super) fn free(&self, key: Key) -> SmallVec<[(Arc<Log>, Option<Position>); 1]> {
        let members = self.members.borrow();
        let places = members.get(&key).into_iter().flat_map(|places| &places.list);
        places
            .filter(|place| place.hold == Hold::Free)
            .map(|place| (Arc::clone(&place.log), place.cursor))
            .collect()
    }

    pub(super) fn wake(&self, key: Key) {
        let mut members = self.members.borrow_mut();
        let Some(places) = members.get_mut(&key) else { return };
        let is_queued = std::mem::replace(&mut places.is_queued, true);
        drop(members);
        if !is_queued {
            self.queue.borrow_mut().push_back(key);
        }
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// How many members stand in the queue.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Takes the next member that can be served.
    pub(super) fn next(&self) -> Option<Key> {
        let mut queue = self.queue.borrow_mut();
        let key = queue.pop_front();
        if queue.is_empty() && queue.capacity() > WORTH_SHRINKING {
            *queue = VecDeque::new();
        }
        drop(queue);
        let key = key?;
        if let Some(places) = self.members.borrow_mut().get_mut(&key) {
            places.is_queued = false;
        }
        Some(key)
    }
}
