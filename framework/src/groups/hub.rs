//! One thread's part of a layer: its connections, and which of them are in which group.

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    Delivery,
    behind::Behind,
    budget::Ledger,
    directory::Directory,
    error::LayerError,
    fan_out::{Class, Parcel},
    history::log::Log,
    key::{Key, consumer_channel},
    later::Later,
    local_log::LocalLog,
    member::{Member, MemberList, hand_over},
    queue::HubQueue,
    slices::{LargeSend, Logged, Slices},
    wheel::Wheel,
};
use crate::{ChannelName, Envelope, GroupName, wire::limits::Flush};

/// The event that ends a connection because its client has come back on another one. Only the framework sends it.
pub(crate) const SUPERSEDED: &str = "greenroom.superseded";

/// One thread's part of a layer.
///
/// While `groups` or `connections` is borrowed, no user code runs and no user's value is dropped. A value that is
/// pushed is a clone, and its original lives on. A value that is refused goes back to the caller.
pub(crate) struct Hub {
    directory: Arc<Directory>,
    pub(super) queue: Arc<HubQueue>,
    pub(super) connections: RefCell<Slab<Rc<dyn Member>>>,
    pub(super) groups: RefCell<HashMap<GroupName, LocalGroup>>,
    next_serial: Cell<u64>,
    /// How many inboxes of this hub are full. While this is 0, a send need not look at the inboxes.
    pub(super) full: Cell<usize>,
    /// The number of the current pass, see [`headroom`](super::headroom).
    pub(super) pass: Cell<u64>,
    /// The large sends that some members have not got yet.
    pub(super) slices: Slices,
    /// The connection that runs a hook now.
    pub(super) running: Cell<Option<Key>>,
    /// The slots of the connections that have something to write since the last flush.
    pub(super) dirty: RefCell<Vec<u32>>,
    /// The task that flushes.
    pub(super) flusher: RefCell<Option<Waker>>,
    /// The connections that are flushed at intervals.
    pub(super) later: Later,
    /// When to look at which connection.
    pub(super) wheel: Wheel,
    /// What the outboxes of this thread hold: a ledger for each budget.
    pub(super) ledgers: RefCell<Vec<Rc<Ledger>>>,
}

#[derive(Default)]
pub(super) struct LocalGroup {
    /// In the order of their numbers.
    pub(super) classes: SmallVec<[ClassMembers; 1]>,
    next_class: u32,
    /// Lets the senders that wait for room in this group go on one by one, in order.
    pub(super) turn: Option<Arc<Semaphore>>,
    /// The log of the group, if the group has one.
    pub(super) log: Option<Box<LocalLog>>,
}

/// The members of one class.
pub(super) struct ClassMembers {
    /// Tells this class from an earlier one at the same place in the list.
    pub(super) number: u32,
    pub(super) class: Class,
    pub(super) list: MemberList,
}

impl Hub {
    /// A hub without connections. [`thread`](super::thread) runs its tasks.
    pub(super) fn new(directory: &Arc<Directory>) -> Rc<Self> {
        Rc::new(Self {
            directory: Arc::clone(directory),
            queue: HubQueue::new(),
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

    pub(crate) fn queue(&self) -> &Arc<HubQueue> {
        &self.queue
    }

    /// Notes that a connection has something to write. `flush` says when it is written.
    pub(crate) fn mark_dirty(self: &Rc<Self>, slot: u32, flush: Flush) {
        let interval = match flush {
            Flush::Turn => Duration::ZERO,
            Flush::Every(interval) => interval,
            Flush::WhenBehind(interval) => self.later.interval_when_behind(interval),
        };
        if interval.is_zero() {
            self.dirty.borrow_mut().push(slot);
            self.wake_flusher();
        } else if self.later.push(slot, interval) {
            let hub = Rc::clone(self);
            actix_rt::spawn(async move {
                tokio::time::sleep(interval).await;
                hub.dirty.borrow_mut().extend(hub.later.take(interval));
                hub.wake_flusher();
            });
        }
    }

    pub(super) fn wake_flusher(&self) {
        if let Some(flusher) = self.flusher.take() {
            flusher.wake();
        }
    }

    /// Adds a connection. `make` gets the new key, and makes the connection with it.
    pub(crate) fn attach<M: Member + 'static>(&self, make: impl FnOnce(Key) -> Rc<M>) -> Rc<M> {
        let serial = self.next_serial.get();
        self.next_serial.set(serial + 1);
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let connection = make(Key { slot: entry.key() as u32, serial });
        entry.insert(Rc::clone(&connection) as Rc<dyn Member>);
        connection
    }

    /// Ends all memberships of a connection. A second call does nothing.
    pub(crate) fn leave_all(&self, member: &dyn Member) {
        for membership in member.memberships().take() {
            self.remove(&membership.group, member, membership.place());
        }
        self.behind().remove(member.key(), None);
    }

    /// Removes a connection that has ended. A second call does nothing.
    pub(crate) fn detach(&self, member: &dyn Member) {
        self.leave_all(member);
        let key = member.key();
        let mut connections = self.connections.borrow_mut();
        if connections.get(key.slot as usize).is_some_and(|known| known.key() == key) {
            connections.remove(key.slot as usize);
            self.wheel.remove(key.slot);
        }
    }

    pub(super) fn connection_at(&self, slot: u32) -> Option<Rc<dyn Member>> {
        self.connections.borrow().get(slot as usize).cloned()
    }

    pub(crate) fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    pub(crate) fn connection(&self, key: Key) -> Option<Rc<dyn Member>> {
        let connections = self.connections.borrow();
        connections.get(key.slot as usize).filter(|known| known.key() == key).cloned()
    }

    /// The channel that leads to a connection of this hub.
    pub(crate) fn channel_of(&self, key: Key) -> ChannelName {
        consumer_channel(&self.directory.process, self.queue.id(), key)
    }

    /// Makes a connection a member from now on. A second call does nothing (rule 26: joining twice is joining once).
    ///
    /// If the group has a log and the member is new, returns the log.
    pub(crate) fn join(
        &self,
        member: Rc<dyn Member>,
        group: &GroupName,
    ) -> Result<Option<Arc<Log>>, LayerError> {
        self.join_held(member, group, false)
    }

    /// As [`join`](Self::join). A member that is `held` waits where it is until [`go_on`](Self::go_on).
    pub(crate) fn join_held(
        &self,
        member: Rc<dyn Member>,
        group: &GroupName,
        held: bool,
    ) -> Result<Option<Arc<Log>>, LayerError> {
        if member.has_ended() {
            return Err(LayerError::NoReceiver);
        }
        if !member.memberships().may_join(group, member.max_groups())? {
            return Ok(None);
        }
        let mut groups = self.groups.borrow_mut();
        let local = groups.entry(group.clone()).or_default();
        let members = match local.classes.iter().position(|members| members.class == *member.class()) {
            Some(at) => &mut local.classes[at],
            None => {
                let class = *member.class();
                self.directory.enter(group, &self.queue, class);
                let number = local.next_class;
                local.next_class += 1;
                local.classes.push(ClassMembers { number, class, list: MemberList::default() });
                local.classes.last_mut().expect("one was pushed")
            }
        };
        self.directory.note_consumer(group, self.queue.id(), member.key(), true);
        let place = members.list.push(Rc::clone(&member));
        member.memberships().add(group.clone(), place, self.slices.last());
        let log = self.open_local_log(group, local);
        drop(groups);
        if let Some(log) = &log
            && (held || member.is_told_places())
        {
            self.hold(&*member, log);
        }
        Ok(log)
    }

    /// Ends a membership from now on. Does nothing if there is none (rule 26: leaving twice is no error).
    pub(crate) fn leave(&self, member: &dyn Member, group: &GroupName) {
        self.slices.catch_up(member, u64::MAX);
        self.leave_log(member, group);
        if let Some(place) = member.memberships().remove(group) {
            self.remove(group, member, place);
        }
    }

    fn remove(&self, group: &GroupName, member: &dyn Member, place: usize) {
        let mut groups = self.groups.borrow_mut();
        let Some(local) = groups.get_mut(group) else { return };
        let class = member.class();
        let Some(at) = local.classes.iter().position(|members| members.class == *class) else { return };
        let ClassMembers { number, list, .. } = &mut local.classes[at];
        let mut walks = self.slices.walks.borrow_mut();
        let walk = walks.iter_mut().find(|walk| walk.class == *number && walk.group == *group);
        if list.remove(group, place, member.key(), walk.map_or(&mut 0, |walk| &mut walk.next)) {
            self.directory.note_consumer(group, self.queue.id(), member.key(), false);
        }
        drop(walks);
        if list.is_empty() {
            local.classes.remove(at);
            self.directory.leave(group, &self.queue, class);
        }
        if local.classes.is_empty() {
            groups.remove(group);
        }
    }

    /// Hands a parcel to the members of this thread, at once. If the group is large, does nothing and returns `None`.
    pub(super) fn deliver(&self, group: &GroupName, parcel: &Parcel) -> Option<Delivery> {
        let groups = self.groups.borrow();
        let Some(local) = groups.get(group) else { return Some(Delivery::default()) };
        if local.is_large() {
            return None;
        }
        // Decided here, once: an event that leaves out nobody on this hub is handed over without a look at the keys.
        let except = parcel.except.on(self.queue.id());
        Some(if except.is_nobody() {
            self.deliver_if(local, parcel, |_| true)
        } else {
            self.deliver_if(local, parcel, |member| !except.has(member.key()))
        })
    }

    /// Hands a parcel to those members of a small group that are `wanted`.
    fn deliver_if(
        &self,
        local: &LocalGroup,
        parcel: &Parcel,
        wanted: impl Fn(&dyn Member) -> bool,
    ) -> Delivery {
        let mut sum = Delivery::default();
        let pending = self.slices.has_pending();
        for members in &local.classes {
            let Some(form) = parcel.form(&members.class) else { continue };
            for member in members.list.iter().filter(|member| wanted(&***member)) {
                if pending {
                    self.slices.catch_up(&**member, u64::MAX);
                }
                sum.note(hand_over(&**member, form, parcel));
            }
        }
        sum
    }

    /// The members that are behind in a log.
    pub(super) fn behind(&self) -> &Behind {
        &self.slices.behind
    }

    /// Notes that a connection has room for more of a log.
    #[inline]
    pub(crate) fn note_room(&self, key: Key) {
        if !self.behind().is_empty() {
            self.behind().note_room(key);
        }
    }

    /// Whether the members of a group are served in slices.
    pub(super) fn is_large(&self, group: &GroupName) -> bool {
        self.groups.borrow().get(group).is_some_and(LocalGroup::is_large)
    }

    /// Starts a large send: the members are owed a parcel from now on, but for those that it leaves out.
    pub(super) fn start_large(
        &self,
        group: GroupName,
        parcel: Parcel,
        logged: Option<Logged>,
        reply: Option<oneshot::Sender<Delivery>>,
        room: Option<OwnedSemaphorePermit>,
    ) {
        let number = self.slices.last() + 1;
        // A member that is up to date counts as served, so the walk need not look for it. A member with a full inbox
        // is owed older events, and must be looked for. A connection that has gone, or joins later, is owed nothing.
        let must_be_looked_for = |key: &Key| {
            let Some(member) = self.connection(*key) else { return false };
            let is_current = self.slices.catch_up(&*member, 0).all;
            if is_current {
                member.memberships().note_served(&group, number);
            }
            !is_current
        };
        let except = parcel.except.on(self.queue.id()).keys().filter(must_be_looked_for).collect();
        self.slices.start(LargeSend::new(number, group, parcel, except, logged, reply, room), self.pass());
    }

    /// Hands an event to one connection (rule 23: a full inbox is an error for a direct send).
    pub(crate) fn send(&self, key: Key, envelope: Envelope) -> Result<(), LayerError> {
        let member = self.connection(key).ok_or(LayerError::NoReceiver)?;
        if member.has_ended() {
            return Err(LayerError::NoReceiver);
        }
        if envelope.name() == SUPERSEDED {
            member.supersede();
            return Ok(());
        }
        // The large sends that it is owed come first, if its inbox has room for them.
        self.slices.catch_up(&*member, 0);
        if member.take_event(envelope) { Ok(()) } else { Err(LayerError::ChannelFull(self.channel_of(key))) }
    }

    /// Hands a connection the large sends that it is owed, until its inbox is full.
    pub(crate) fn catch_up(&self, member: &dyn Member) {
        self.slices.catch_up(member, 0);
    }

    /// Does [`catch_up`](Self::catch_up) for all members of a group. Does nothing for a large group.
    pub(super) fn catch_up_group(&self, group: &GroupName) {
        if !self.slices.has_pending() {
            return;
        }
        let groups = self.groups.borrow();
        let Some(local) = groups.get(group).filter(|local| !local.is_large()) else { return };
        for member in local.members() {
            self.slices.catch_up(&**member, 0);
        }
    }

    /// The connections that belong to a drain.
    pub(crate) fn keys_of(&self, drain: u64) -> Vec<Key> {
        let connections = self.connections.borrow();
        let of_drain = connections.iter().filter(|(_, connection)| connection.drain_id() == drain);
        of_drain.map(|(_, connection)| connection.key()).collect()
    }

    #[cfg(feature = "testing")]
    pub(super) fn census(&self) -> super::census::Census {
        super::census::Census {
            connections: self.connections.borrow().len(),
            groups: self.groups.borrow().len(),
            pending: self.slices.pending(),
            unflushed: self.dirty.borrow().len() + self.later.len(),
            timed: self.wheel.len(),
        }
    }

    /// How many places the lists of a group have, and how many their memory has room for.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn places_of(&self, group: &GroupName) -> (usize, usize) {
        let groups = self.groups.borrow();
        let lists = groups[group].classes.iter().map(|members| &members.list);
        lists.fold((0, 0), |(places, memory), list| (places + list.len(), memory + list.capacity()))
    }

    /// Notes that an inbox became full, or got room again.
    pub(crate) fn note_full(&self, full: bool) {
        self.full.set(self.full.get().saturating_add_signed(if full { 1 } else { -1 }));
    }

    pub(crate) fn pass(&self) -> u64 {
        self.pass.get()
    }

    /// Begins the next pass. A connection that runs from now on counts as having run in it.
    pub(super) fn next_pass(&self) -> u64 {
        self.pass.set(self.pass.get() + 1);
        self.pass.get()
    }

    /// Notes which connection runs a hook now, if any.
    pub(crate) fn set_running(&self, key: Option<Key>) {
        self.running.set(key);
    }
}

impl LocalGroup {
    /// A group with more members than this on one thread is served in slices.
    const LARGE: usize = if cfg!(all(test, shuttle)) { 1 } else { 1000 };

    /// Whether its members are served in slices.
    pub(super) fn is_large(&self) -> bool {
        self.classes.iter().map(|members| members.list.len()).sum::<usize>() > Self::LARGE
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Rc<dyn Member>> {
        self.classes.iter().flat_map(|members| members.list.iter())
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("id", &self.queue.id()).finish_non_exhaustive()
    }
}
