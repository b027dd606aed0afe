//! The log of one group in this process: its newest entries, in order.

mod read;
mod state;

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicIsize, AtomicU32, Ordering::Relaxed},
};

use tokio::{sync::Notify, time::Instant};

pub(crate) use self::read::ReadPart;
pub(super) use self::read::envelope_of;
use self::state::LogState;
use super::{
    entry::{Draft, Entry},
    lost::LostReason,
    policy::History,
    position::{Position, Tag},
    store::Arrival,
};
use crate::{
    Envelope, GroupName,
    sync::{Mutex, MutexGuard},
};

/// For how many bytes a log counts beside its entries.
pub(super) const LOG_BYTES: usize = 512;

/// The log of one group in this process.
///
/// The lock is held for a look-up or an edit, never over user code, a wake or an await. Entries are made and dropped
/// outside of it, because they hold users' events.
pub(crate) struct Log {
    /// The number of the log in this process: the clients' short name for it.
    pub(crate) alias: u32,
    pub(crate) group: GroupName,
    pub(crate) policy: History,
    state: Mutex<LogState>,
    /// Held by whoever reads the log from its server.
    pub(crate) reading: tokio::sync::Mutex<()>,
    /// Told when members may get more entries.
    formed: Notify,
    /// The bytes of the entries of all logs of the layer, and what these count beside them.
    total: Arc<AtomicIsize>,
}

/// What a log has for a member behind a place.
#[derive(Debug)]
pub(crate) enum News {
    /// These entries, which come next. None: the member has them all.
    Entries(Vec<Arc<Entry>>),
    /// What comes next is not here. The log goes on from this place.
    Lost { reason: LostReason, from: Position },
}

/// What became of an entry that has arrived.
#[derive(Debug)]
pub(crate) enum TakenIn {
    /// These are new, in order.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis", test)),
        expect(dead_code, reason = "no layer here has a server")
    )]
    New(Vec<Arc<Entry>>),
    /// It was here before.
    Known,
    /// Entries before it are missing, and must be read.
    Gap,
    /// The server's log is another one than this.
    Other,
}

impl Log {
    /// A log. `top` is its end, if that is known.
    ///
    /// `total` counts the bytes of all logs of the layer.
    pub(super) fn new(
        group: GroupName,
        policy: History,
        top: Option<Position>,
        total: &Arc<AtomicIsize>,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self {
            alias: NEXT.fetch_add(1, Relaxed),
            group,
            policy,
            state: Mutex::new(LogState::new(top)),
            reading: tokio::sync::Mutex::default(),
            formed: Notify::new(),
            total: Arc::clone(total),
        }
    }

    /// A log that another process has left.
    pub(super) fn kept(
        group: GroupName,
        policy: History,
        base: Position,
        entries: Vec<Entry>,
        total: &Arc<AtomicIsize>,
    ) -> Self {
        let log = Self::new(group, policy, Some(base), total);
        log.edit(|state| {
            for entry in entries {
                state.push(Arc::new(entry));
            }
            state.opened = state.top;
            state.ready = state.top.map_or(base.offset, |top| top.offset);
            state.queued = state.ready;
        });
        log
    }

    #[cfg(test)]
    pub(crate) fn of_test(group: GroupName, policy: History, top: Position) -> Self {
        Self::new(group, policy, Some(top), &Arc::default())
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes which entries are here, and counts their bytes.
    fn edit<T>(&self, change: impl FnOnce(&mut LogState) -> T) -> T {
        let mut state = self.state();
        let before = state.bytes;
        let changed = change(&mut state);
        self.total.fetch_add(state.bytes as isize - before as isize, Relaxed);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        drop(dropped);
        changed
    }

    /// Looks at what is here, without what is too old.
    fn look<T>(&self, look: impl FnOnce(&LogState) -> T) -> T {
        let now = Instant::now();
        self.edit(|state| {
            state.trim(self.policy, now);
            look(state)
        })
    }

    /// The place behind the newest entry. `None` before the server has said it.
    pub(crate) fn seen(&self) -> Option<Position> {
        self.state().top
    }

    /// The place from which this process has the log. `None` before it is open.
    pub(crate) fn opened(&self) -> Option<Position> {
        self.state().opened
    }

    /// Notes that entries do not come here any more, because the group has no member in this process.
    #[cfg(any(feature = "nats", feature = "redis", test))]
    pub(crate) fn close(&self) {
        self.state().opened = None;
    }

    /// Opens a log at a place, for a group that has queues here, and no consumers.
    #[cfg(any(feature = "nats", feature = "redis"))]
    pub(crate) fn open_at(&self, place: Position) {
        let mut state = self.state();
        if state.top.is_none() {
            (state.top, state.opened, state.base) = (Some(place), Some(place), place);
            (state.ready, state.queued) = (place.offset, place.offset);
        }
    }

    /// The place behind the newest entry that members may get, for somebody who may come back with it later.
    pub(super) fn end(&self) -> Position {
        let mut state = self.state();
        state.left = Instant::now();
        state.place_of(state.ready)
    }

    /// Adds an entry at the end, for a log that is only in this process. `None` if the log is frozen.
    pub(super) fn append(&self, draft: Draft) -> Option<Arc<Entry>> {
        let tag = Tag::fresh();
        // On the way out of a frozen log it is not dropped under the lock.
        let mut draft = Some(draft);
        self.edit(|state| {
            let draft = if state.is_frozen { None } else { draft.take() };
            let end = state.top.unwrap_or(state.base);
            let entry = Arc::new(draft?.at(Position { offset: end.offset + 1, tag, ..end }));
            state.push(Arc::clone(&entry));
            state.trim(self.policy, entry.since);
            Some(entry)
        })
    }

    /// From now on nothing can be [appended](Self::append).
    pub(super) fn freeze(&self) {
        self.state().is_frozen = true;
    }

    /// Notes that an entry has its forms. Members may get it when all before it have theirs. Returns whether they may.
    pub(crate) fn note_formed(&self, entry: &Entry) -> bool {
        let mut state = self.state();
        // The new ones are few, and at the end. A search from the middle would touch entries that nobody has used for long.
        let new = state.ring.iter().rev().take_while(|entry| entry.position.offset > state.ready).count();
        let from = state.ring.len() - new;
        let formed = |entry: &&Arc<Entry>| entry.parcel().is_some();
        let ready = state.ring.range(from..).take_while(formed).last().map(|last| last.position.offset);
        state.ready = ready.unwrap_or(state.ready);
        let has_passed = state.has_passed(entry.position);
        drop(state);
        if ready.is_some() {
            self.formed.notify_waiters();
        }
        has_passed
    }

    /// Waits until members may get an entry: until all before it have their forms, which other threads make.
    pub(crate) async fn wait_for(&self, entry: &Entry) {
        loop {
            let formed = self.formed.notified();
            if self.state().has_passed(entry.position) {
                return;
            }
            formed.await;
        }
    }

    /// Begins to hand entries to the queues of programs. `None` if somebody else is at it.
    pub(crate) fn queueing(&self) -> Option<Queueing<'_>> {
        let is_busy = std::mem::replace(&mut self.state().is_queueing, true);
        if is_busy { None } else { Some(Queueing { log: self }) }
    }

    /// Waits until the queues have got an entry, or nobody hands out entries any more. Returns whether they have got it.
    pub(crate) async fn wait_for_queues(&self, entry: &Entry) -> bool {
        loop {
            let formed = self.formed.notified();
            if entry.queued.get().is_some() {
                return true;
            }
            if !self.state().is_queueing {
                return false;
            }
            formed.await;
        }
    }

    /// Notes that a thread has members from now on, and returns their place. `None` before the log is open.
    ///
    /// From then on the log keeps what the thread has not handed out.
    pub(crate) fn open_thread(&self, hub: u64) -> Option<Position> {
        let mut state = self.state();
        state.opened?;
        let place = state.place_of(state.ready);
        state.note_thread(hub, place);
        Some(place)
    }

    /// As [`after`](Self::after), for the members of a thread that are not behind. All have got what is before the place.
    pub(crate) fn after_all_of(&self, hub: u64, place: Position, most: usize) -> News {
        let mut state = self.state();
        state.note_thread(hub, place);
        state.after(place, most)
    }

    /// Notes that a thread has no members any more.
    pub(crate) fn forget_thread(&self, hub: u64) {
        let mut state = self.state();
        state.threads.retain(|(known, _)| *known != hub);
        state.left = Instant::now();
    }

    /// What comes next behind a place: up to `most` entries that members may get.
    pub(crate) fn after(&self, place: Position, most: usize) -> News {
        self.state().after(place, most)
    }

    /// The place from which the newest `count` entries follow, as far as they are here, and how many these are.
    pub(crate) fn before_last(&self, count: usize) -> (Position, usize) {
        self.look(|state| {
            let ready = state.ring.partition_point(|entry| entry.position.offset <= state.ready);
            match ready.checked_sub(count).and_then(|skipped| skipped.checked_sub(1)) {
                Some(last) => (state.ring[last].position, count),
                None => (state.base, ready.min(count)),
            }
        })
    }

    /// The newest `most` entries before an offset, and the place from which the log is here.
    pub(crate) fn page(&self, before: u64, most: usize) -> (Vec<Arc<Entry>>, Position) {
        self.look(|state| {
            let is_in = |offset| offset < before && offset <= state.ready;
            let end = state.ring.partition_point(|entry| is_in(entry.position.offset));
            (state.ring.range(end.saturating_sub(most)..end).cloned().collect(), state.base)
        })
    }

    /// All entries, and the place before them.
    pub(super) fn content(&self) -> (Position, Vec<Arc<Entry>>) {
        self.look(|state| (state.base, state.ring.iter().cloned().collect()))
    }

    /// The place before an entry. `None` if the entry is not here.
    pub(crate) fn before(&self, place: Position) -> Option<Position> {
        let state = self.state();
        let at = state.ring.binary_search_by_key(&place.offset, |entry| entry.position.offset).ok()?;
        state.ring.get(at).filter(|entry| entry.position == place)?;
        Some(at.checked_sub(1).map_or(state.base, |before| state.ring[before].position))
    }

    /// The place, if the log reaches back to it, or why it does not. `None` if a server knows it, which can be asked if
    /// `asks`.
    pub(crate) fn reach(&self, place: Position, asks: bool) -> Option<Result<Position, LostReason>> {
        self.look(|state| state.reach(place, asks))
    }

    /// Takes in an entry that a server has brought.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis", test)),
        expect(dead_code, reason = "no layer here has a server")
    )]
    pub(crate) fn take_in(&self, arrival: Arrival, envelope: Envelope) -> TakenIn {
        let Arrival { epoch, entry, prev, prev_tag } = arrival;
        let position = Position { epoch, offset: entry.offset, tag: entry.tag };
        let entry = Arc::new(Draft::new(envelope, &entry.except).at(position));
        self.edit(|state| {
            let since = entry.since;
            let taken = state.take_in(entry, prev, prev_tag);
            state.trim(self.policy, since);
            taken
        })
    }

    /// Whether entries wait for others before them.
    pub(crate) fn has_aside(&self) -> bool {
        !self.state().aside.is_empty()
    }

    /// Takes in what was read from a server behind a place. Returns the new entries, and what the server says of the place.
    pub(crate) fn absorb(
        &self,
        place: Option<Position>,
        read: ReadPart,
    ) -> (Vec<Arc<Entry>>, Result<Position, LostReason>) {
        let absorbed = self.edit(|state| state.absorb(place, read));
        self.formed.notify_waiters();
        absorbed
    }

    /// Whether nobody can come back to the log: its members have left, and its entries are too old.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let state = self.state();
        let last = state.ring.back().map_or(state.left, |entry| entry.since.max(state.left));
        state.threads.is_empty() && now.duration_since(last) >= self.policy.time()
    }

    /// Whether it has no entries.
    pub(super) fn is_empty(&self) -> bool {
        self.state().ring.is_empty()
    }

    /// Drops the oldest half of the entries, `unless_owed` without those that a thread has yet to hand out.
    pub(super) fn shrink(&self, unless_owed: bool) {
        self.edit(|state| {
            let most = if unless_owed { state.handed_out() } else { u64::MAX };
            for _ in 0..state.ring.len().div_ceil(2) {
                if state.ring.front().is_some_and(|first| first.position.offset <= most) {
                    state.drop_first();
                }
            }
        });
    }

    /// When the oldest entry came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.state().ring.front().map(|entry| entry.since)
    }

    pub(super) fn bytes(&self) -> usize {
        LOG_BYTES + self.state().bytes
    }

    /// Notes an event that is in no log. Returns its mark: `mark`, or the next one after those before.
    ///
    /// The marks that this process gives out always grow, also if the clocks of two senders differ. What a server says of
    /// later events, which have not come here yet, plays no part.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "no layer here has a server")
    )]
    pub(crate) fn note_foreign(&self, mark: f64) -> f64 {
        let mut state = self.state();
        state.foreign_here = if mark > state.foreign_here { mark } else { state.foreign_here.next_up() };
        state.foreign = state.foreign.max(state.foreign_here);
        state.foreign_here
    }

    /// The mark of the newest event that is in no log.
    pub(crate) fn foreign(&self) -> f64 {
        self.state().foreign
    }
}

/// Hands entries to the queues of programs. A log has one of these at a time, so that all queues have its order.
pub(crate) struct Queueing<'a> {
    log: &'a Log,
}

impl Queueing<'_> {
    /// The next entry.
    pub(crate) fn next(&self) -> Option<Arc<Entry>> {
        let mut state = self.log.state();
        let at = state.ring.partition_point(|entry| entry.position.offset <= state.queued);
        let mut ready = state.ring.range(at..).take_while(|entry| entry.position.offset <= state.ready);
        let next = ready.find(|entry| entry.queued.get().is_none()).cloned();
        state.queued = next.as_ref().map_or(state.ready, |next| next.position.offset);
        next
    }
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        self.log.state().is_queueing = false;
        self.log.formed.notify_waiters();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("group", &self.group).field("top", &self.seen()).finish_non_exhaustive()
    }
}
