//! The worker-local part of a layer's groups: the connections of this thread, and who of them is in which group.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::sync::Semaphore;

use super::{
    Delivery,
    budget::Ledger,
    directory::Directory,
    fan_out::{Class, Parcel},
    later::Later,
    queue::WorkerQueue,
    slices::{Slices, hand_over},
    wheel::Wheel,
};
use crate::{
    Envelope, GroupName, consumer::connection::Connection, layers::LayerError, transport::limits::Flush,
};

/// Where a connection stands in its hub. The serial number tells it from an earlier one in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// One worker's part of a layer.
///
/// While `groups` or `connections` is borrowed no user code runs and no value of a user is dropped: what
/// is pushed is a clone whose original lives on, and what is refused is given back to the caller.
pub(crate) struct Hub {
    directory: Arc<Directory>,
    pub(super) queue: Arc<WorkerQueue>,
    pub(super) connections: RefCell<Slab<Rc<Connection>>>,
    pub(super) groups: RefCell<HashMap<GroupName, LocalGroup>>,
    next_serial: Cell<u64>,
    /// How many inboxes of this hub are full: while none is, a send need not look.
    pub(super) full: Cell<usize>,
    /// Counts the passes that senders let the others run; see [`room`](super::room).
    pub(super) pass: Cell<u64>,
    /// What the members of large groups are still to get.
    pub(super) slices: Slices,
    /// The connection whose hook runs now.
    pub(super) running: Cell<Option<Key>>,
    /// The connections whose outbox has got something since the last flush, each once.
    pub(super) dirty: RefCell<Vec<Rc<Connection>>>,
    /// The task that flushes.
    pub(super) flusher: RefCell<Option<Waker>>,
    /// Those whose flush waits for its interval.
    pub(super) later: Later,
    /// When to look at which connection.
    pub(super) wheel: Wheel,
    /// What the outboxes hold, for each budget that a connection here counts for.
    pub(super) ledgers: RefCell<Vec<Rc<Ledger>>>,
}

#[derive(Default)]
pub(super) struct LocalGroup {
    /// In the order of their numbers.
    pub(super) classes: SmallVec<[Members; 1]>,
    next_class: u32,
    /// The turn of the senders that wait for room in this group, first come first served.
    pub(super) turn: Option<Arc<Semaphore>>,
}

/// The members of one class.
pub(super) struct Members {
    /// Tells it from a class of this group that had its place before.
    pub(super) number: u32,
    class: Class,
    pub(super) connections: Slab<Rc<Connection>>,
}

impl Hub {
    /// A hub without connections. Its tasks are the [`worker`](super::worker)'s.
    pub(super) fn new(directory: &Arc<Directory>) -> Rc<Self> {
        Rc::new(Self {
            directory: Arc::clone(directory),
            queue: WorkerQueue::new(),
            connections: RefCell::default(),
            groups: RefCell::default(),
            next_serial: Cell::new(1),
            full: Cell::new(0),
            pass: Cell::new(0),
            slices: Slices::default(),
            running: Cell::new(None),
            dirty: RefCell::default(),
            flusher: RefCell::default(),
            later: Later::default(),
            wheel: Wheel::new(),
            ledgers: RefCell::default(),
        })
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn queue(&self) -> &Arc<WorkerQueue> {
        &self.queue
    }

    /// Notes that a connection has something to write.
    pub(crate) fn mark_dirty(self: &Rc<Self>, connection: Rc<Connection>) {
        let interval = match connection.limits.flush {
            Flush::Turn => Duration::ZERO,
            Flush::Every(interval) => interval,
            Flush::WhenBehind(interval) => self.later.interval_when_behind(interval),
        };
        if interval.is_zero() {
            self.dirty.borrow_mut().push(connection);
            self.wake_flusher();
        } else {
            self.later.push(self, connection, interval);
        }
    }

    pub(super) fn wake_flusher(&self) {
        if let Some(flusher) = self.flusher.take() {
            flusher.wake();
        }
    }

    /// Makes a connection known, under the key that `make` gets.
    pub(crate) fn attach(&self, make: impl FnOnce(Key) -> Rc<Connection>) -> Rc<Connection> {
        let serial = self.next_serial.get();
        self.next_serial.set(serial + 1);
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let connection = make(Key { slot: entry.key() as u32, serial });
        entry.insert(Rc::clone(&connection));
        connection
    }

    /// Ends all memberships of a connection. Doing it twice does nothing.
    pub(crate) fn leave_all(&self, connection: &Rc<Connection>) {
        for group in connection.take_memberships() {
            self.remove(&group.name, connection, group.slot);
        }
    }

    /// Forgets a connection that is through. Doing it twice does nothing.
    pub(crate) fn detach(&self, connection: &Rc<Connection>) {
        self.leave_all(connection);
        let key = connection.key();
        let mut connections = self.connections.borrow_mut();
        if connections.get(key.slot as usize).is_some_and(|known| known.key() == key) {
            connections.remove(key.slot as usize);
            self.wheel.remove(key.slot);
        }
    }

    pub(super) fn connection_at(&self, slot: u32) -> Option<Rc<Connection>> {
        self.connections.borrow().get(slot as usize).cloned()
    }

    pub(crate) fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    pub(crate) fn connection(&self, key: Key) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(key.slot as usize).filter(|known| known.key() == key).cloned()
    }

    /// Makes a connection a member from now on. Joining twice does nothing (rule 26).
    pub(crate) fn join(&self, connection: &Rc<Connection>, group: &GroupName) -> Result<(), LayerError> {
        if connection.has_ended() {
            return Err(LayerError::NoReceiver);
        }
        if !connection.may_join(group)? {
            return Ok(());
        }
        let class = connection.class();
        let mut groups = self.groups.borrow_mut();
        let local = groups.entry(group.clone()).or_default();
        let members = match local.classes.iter().position(|members| members.class == class) {
            Some(at) => &mut local.classes[at],
            None => {
                self.directory.enter(group, &self.queue, class);
                let number = local.next_class;
                local.next_class += 1;
                local.classes.push(Members { number, class, connections: Slab::new() });
                local.classes.last_mut().expect("one was pushed")
            }
        };
        let slot = members.connections.insert(Rc::clone(connection));
        connection.add_membership(group.clone(), slot, self.last_job());
        self.directory.note_consumer(group, self.queue.id(), connection.key(), true);
        Ok(())
    }

    /// Ends a membership from now on. Leaving a group that was never joined does nothing (rule 26).
    pub(crate) fn leave(&self, connection: &Rc<Connection>, group: &GroupName) {
        if self.has_pending() {
            self.catch_up(connection, u64::MAX);
        }
        if let Some(slot) = connection.remove_membership(group) {
            self.remove(group, connection, slot);
        }
    }

    fn remove(&self, group: &GroupName, connection: &Rc<Connection>, slot: usize) {
        let mut groups = self.groups.borrow_mut();
        let Some(local) = groups.get_mut(group) else { return };
        let class = connection.class();
        let Some(at) = local.classes.iter().position(|members| members.class == class) else { return };
        let members = &mut local.classes[at].connections;
        if members.get(slot).is_some_and(|known| Rc::ptr_eq(known, connection)) {
            members.remove(slot);
            self.directory.note_consumer(group, self.queue.id(), connection.key(), false);
        }
        if members.is_empty() {
            local.classes.remove(at);
            self.directory.leave(group, &self.queue, &class);
        }
        if local.classes.is_empty() {
            groups.remove(group);
        }
    }

    /// Hands a parcel to the members of this worker, at once; `None` where the group is large, and nothing happened.
    pub(super) fn deliver(&self, group: &GroupName, parcel: &Parcel) -> Option<Delivery> {
        let mut sum = Delivery::default();
        let groups = self.groups.borrow();
        let Some(local) = groups.get(group) else { return Some(sum) };
        if local.is_large() {
            return None;
        }
        let pending = self.has_pending();
        for members in &local.classes {
            let Some(form) = parcel.form(&members.class) else { continue };
            for (_, member) in &members.connections {
                if pending {
                    self.catch_up(member, u64::MAX);
                }
                sum.note(hand_over(member, form, parcel));
            }
        }
        Some(sum)
    }

    /// Hands an event to one connection (rule 23: a full inbox is an error here).
    pub(crate) fn send(&self, key: Key, envelope: Envelope) -> Result<(), LayerError> {
        let connection = self.connection(key).ok_or(LayerError::NoReceiver)?;
        if connection.has_ended() {
            return Err(LayerError::NoReceiver);
        }
        if connection.push_event(envelope) {
            Ok(())
        } else {
            Err(LayerError::ChannelFull(connection.channel_name()))
        }
    }

    /// The connections that belong to a drain.
    pub(crate) fn keys_of(&self, drain: u64) -> Vec<Key> {
        let connections = self.connections.borrow();
        let of_drain = connections.iter().filter(|(_, connection)| connection.drain_id() == drain);
        of_drain.map(|(_, connection)| connection.key()).collect()
    }

    #[cfg(feature = "testing")]
    pub(super) fn census(&self) -> crate::testing::Census {
        crate::testing::Census {
            connections: self.connections.borrow().len(),
            groups: self.groups.borrow().len(),
            pending: self.slices.pending(),
            unflushed: self.dirty.borrow().len() + self.later.len(),
            timed: self.wheel.len(),
        }
    }

    /// An inbox became full, or got room again.
    pub(crate) fn note_full(&self, full: bool) {
        self.full.set(self.full.get().saturating_add_signed(if full { 1 } else { -1 }));
    }

    pub(crate) fn pass(&self) -> u64 {
        self.pass.get()
    }

    /// Begins the next pass: who runs from now on has run in it.
    pub(super) fn next_pass(&self) -> u64 {
        self.pass.set(self.pass.get() + 1);
        self.pass.get()
    }

    /// Notes whose hooks run now, or that none do.
    pub(crate) fn set_running(&self, key: Option<Key>) {
        self.running.set(key);
    }
}

impl LocalGroup {
    pub(super) fn members(&self) -> impl Iterator<Item = (usize, &Rc<Connection>)> {
        self.classes.iter().flat_map(|members| &members.connections)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("worker", &self.queue.id()).finish_non_exhaustive()
    }
}
