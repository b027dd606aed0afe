//! What a log holds, and how it changes.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    super::{
        entry::Entry,
        lost::LostReason,
        policy::History,
        position::{Epoch, Position, Tag},
    },
    News, TakenIn,
    read::ReadPart,
};

/// How many entries may wait for one that is missing before them.
const ASIDE: usize = 256;

/// What a log holds.
pub(super) struct LogState {
    /// The place behind the newest entry. `None` before the server has said it.
    pub(super) top: Option<Position>,
    /// The newest entry that members may get has this offset.
    pub(super) ready: u64,
    /// What is up to this offset was handed to the queues of programs.
    pub(super) queued: u64,
    /// Whether somebody hands entries to them.
    pub(super) is_queueing: bool,
    /// The place before the first entry of the ring.
    pub(super) base: Position,
    /// Without a gap.
    pub(super) ring: VecDeque<Arc<Entry>>,
    /// The bytes of the ring's entries.
    pub(super) bytes: usize,
    /// Entries behind a gap, by the offset of the entry before each.
    pub(super) aside: BTreeMap<u64, Aside>,
    /// The threads with members, each by its hub's id, and the offset to which it has handed the entries out.
    pub(super) threads: SmallVec<[(u64, u64); 2]>,
    /// The epoch before this one, and why it ended.
    broken: Option<(Epoch, LostReason)>,
    /// Whether nothing is appended any more.
    pub(super) is_frozen: bool,
    /// The place from which this process has the log.
    pub(super) opened: Option<Position>,
    /// The newest mark of events that are in no log.
    pub(super) foreign: f64,
    /// The mark of the last such event that has come here.
    pub(super) foreign_here: f64,
    /// When the last thread had its last member, or somebody was told where the log ends.
    pub(super) left: Instant,
    /// What is out of the log. It is dropped without the lock, because it holds users' events.
    pub(super) dropped: SmallVec<[Arc<Entry>; 2]>,
}

/// An entry that waits for those before it.
pub(super) struct Aside {
    prev_tag: Option<Tag>,
    entry: Arc<Entry>,
}

impl LogState {
    pub(super) fn new(top: Option<Position>) -> Self {
        let base = top.unwrap_or(Position::start(Epoch::fresh()));
        Self {
            top,
            ready: base.offset,
            queued: base.offset,
            is_queueing: false,
            base,
            ring: VecDeque::new(),
            bytes: 0,
            aside: BTreeMap::new(),
            threads: SmallVec::new(),
            broken: None,
            is_frozen: false,
            opened: top,
            foreign: 0.0,
            foreign_here: 0.0,
            left: Instant::now(),
            dropped: SmallVec::new(),
        }
    }

    pub(super) fn note_thread(&mut self, hub: u64, place: Position) {
        match self.threads.iter_mut().find(|(known, _)| *known == hub) {
            Some((_, served)) => *served = place.offset,
            None => self.threads.push((hub, place.offset)),
        }
    }

    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.top = Some(entry.position);
        self.bytes += entry.bytes;
        self.ring.push_back(entry);
    }

    pub(super) fn drop_first(&mut self) {
        if let Some(first) = self.ring.pop_front() {
            self.base = first.position;
            self.bytes -= first.bytes;
            self.dropped.push(first);
        }
    }

    /// Takes out what is more, or older, than the policy keeps.
    ///
    /// An entry stays until all threads have handed it out. So a burst that is longer than the log costs nobody an event;
    /// the senders wait for threads that are behind, and [`shrink`](super::Log::shrink) bounds the bytes.
    pub(super) fn trim(&mut self, policy: History, now: Instant) {
        let handed_out = self.handed_out();
        while let Some(first) = self.ring.front() {
            let is_over = self.ring.len() > policy.size() || now.duration_since(first.since) >= policy.time();
            if !is_over || first.position.offset > handed_out {
                return;
            }
            self.drop_first();
        }
    }

    /// Whether members may get the entry before this place, or never will.
    pub(super) fn has_passed(&self, place: Position) -> bool {
        place.epoch != self.base.epoch || place.offset <= self.ready.max(self.base.offset)
    }

    /// All threads have handed out the entries up to this offset.
    pub(super) fn handed_out(&self) -> u64 {
        self.threads.iter().map(|(_, served)| *served).min().unwrap_or(u64::MAX).min(self.ready)
    }

    /// The place behind the entry with this offset.
    pub(super) fn place_of(&self, offset: u64) -> Position {
        match self.ring.binary_search_by_key(&offset, |entry| entry.position.offset) {
            Ok(at) => self.ring[at].position,
            Err(_) => self.base,
        }
    }

    /// What comes next behind a place: up to `most` entries that members may get.
    pub(super) fn after(&self, place: Position, most: usize) -> News {
        if place.epoch != self.base.epoch {
            // All that is here of the new epoch is new to whoever has come so far in the old one.
            return News::Lost { reason: self.reason_for(place.epoch), from: self.base };
        }
        if place.offset < self.base.offset {
            return News::Lost { reason: LostReason::Trimmed, from: self.base };
        }
        let first = self.ring.partition_point(|entry| entry.position.offset <= place.offset);
        let known = first.checked_sub(1).map_or(self.base, |last| self.ring[last].position);
        if known != place {
            // The entry before this place is another one now.
            return News::Lost { reason: LostReason::Rollback, from: self.place_of(self.ready) };
        }
        let wanted = self.ring.range(first..).take(most);
        News::Entries(wanted.take_while(|entry| entry.position.offset <= self.ready).cloned().collect())
    }

    /// Why a member of another epoch has lost its place.
    fn reason_for(&self, epoch: Epoch) -> LostReason {
        self.broken.filter(|(before, _)| *before == epoch).map_or(LostReason::Epoch, |(_, reason)| reason)
    }

    pub(super) fn reach(&self, place: Position, asks: bool) -> Option<Result<Position, LostReason>> {
        let unless_asked = |lost| if asks { None } else { Some(Err(lost)) };
        let Some(top) = self.top else { return unless_asked(LostReason::Epoch) };
        if place.epoch != top.epoch {
            return match self.broken {
                Some((before, reason)) if before == place.epoch => Some(Err(reason)),
                _ => unless_asked(LostReason::Epoch),
            };
        }
        if place.offset < self.base.offset {
            return unless_asked(LostReason::Trimmed);
        }
        if place.offset > top.offset {
            return unless_asked(LostReason::Ahead);
        }
        if self.place_of(place.offset) == place {
            return Some(Ok(place));
        }
        unless_asked(LostReason::Rollback)
    }

    /// Takes in what was read from a server behind a place. Returns the new entries, and what the server says of the place.
    pub(super) fn absorb(
        &mut self,
        place: Option<Position>,
        read: ReadPart,
    ) -> (Vec<Arc<Entry>>, Result<Position, LostReason>) {
        self.foreign = self.foreign.max(read.foreign);
        let top = read.top;
        let before = read.before(place);
        let verdict = match place {
            None => Ok(before),
            Some(place) if place.epoch != top.epoch => Err(self.reason_for(place.epoch)),
            Some(place) if place.offset > top.offset => Err(LostReason::Ahead),
            Some(_) if read.anchor.is_none() => Err(LostReason::Trimmed),
            Some(place) if read.anchor != Some(place.tag) => Err(LostReason::Rollback),
            Some(place) => Ok(place),
        };
        let goes_on = self.top.is_some_and(|known| {
            let was_rolled_back = place == Some(known) && verdict == Err(LostReason::Rollback);
            let is_cut_off = before.offset > known.offset;
            known.epoch == top.epoch && !was_rolled_back && !is_cut_off
        });
        let mut new = if goes_on { self.extend(before, read.entries) } else { self.begin_anew(before, read) };
        // Nobody here is owed what came before.
        self.opened = self.opened.or(self.top);
        new.extend(self.take_aside());
        (new, verdict)
    }

    /// Begins the log anew with what was read, which stands behind `before`. Returns the new entries.
    fn begin_anew(&mut self, mut before: Position, read: ReadPart) -> Vec<Arc<Entry>> {
        let ReadPart { top, mut entries, .. } = read;
        let known = self.top;
        if let Some(known) = known.filter(|known| known.epoch != top.epoch) {
            self.broken = Some((known.epoch, LostReason::Epoch));
        }
        // What is left of the log before has come already.
        let spot = |position: Position| (position.offset, position.tag.get());
        // A table, because there may be 10,000 of each, and the log is locked.
        let had: HashSet<_> =
            known.into_iter().chain(self.ring.iter().map(|entry| entry.position)).map(spot).collect();
        let is_known = |entry: &Arc<Entry>| had.contains(&spot(entry.position));
        if let Some(last) = entries.iter().rposition(is_known) {
            before = entries[last].position;
            self.dropped.extend(entries.drain(..=last));
        }
        self.dropped.extend(self.ring.drain(..));
        self.threads.clear();
        self.bytes = 0;
        self.base = before;
        self.ready = before.offset;
        self.queued = before.offset;
        // Not the server's end: a server that lags behind may know it, and not the entries before it.
        self.top = Some(before);
        for entry in &entries {
            self.push(Arc::clone(entry));
        }
        entries
    }

    /// Adds what was read, which stands behind `before`, at both ends. Returns the new entries.
    fn extend(&mut self, before: Position, entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
        let end = self.top.map_or(0, |known| known.offset);
        let (older, newer): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.position.offset <= end);
        // What was read reaches to the ring if it has the ring's first entry. The place before that may be unknown.
        let first = self.ring.front().map(|first| first.position);
        let overlaps = first.is_some_and(|first| older.iter().any(|entry| entry.position == first));
        let (older, known): (Vec<_>, Vec<_>) =
            older.into_iter().partition(|entry| entry.position.offset <= self.base.offset);
        self.dropped.extend(known);
        if overlaps || older.last().is_some_and(|last| last.position == self.base) {
            self.base = before;
            for entry in older.into_iter().rev() {
                self.bytes += entry.bytes;
                self.ring.push_front(entry);
            }
        } else {
            self.dropped.extend(older);
        }
        for entry in &newer {
            self.push(Arc::clone(entry));
        }
        newer
    }

    /// The entries that waited for those before them, which are here now. Those that are too old are dropped.
    fn take_aside(&mut self) -> Vec<Arc<Entry>> {
        let mut new = Vec::new();
        while let Some(top) = self.top
            && let Some(Aside { prev_tag, entry }) = self.aside.remove(&top.offset)
        {
            if entry.position.epoch == top.epoch && prev_tag.is_none_or(|tag| tag == top.tag) {
                self.push(Arc::clone(&entry));
                new.push(entry);
            } else {
                self.dropped.push(entry);
            }
        }
        if let Some(top) = self.top {
            let dropped = &mut self.dropped;
            self.aside.retain(|prev, Aside { entry, .. }| {
                let waits = *prev > top.offset && entry.position.epoch == top.epoch;
                if !waits {
                    dropped.push(Arc::clone(entry));
                }
                waits
            });
        }
        new
    }

    /// Takes in an entry that has come, behind the one with the offset `prev`.
    pub(super) fn take_in(&mut self, entry: Arc<Entry>, prev: u64, prev_tag: Option<Tag>) -> TakenIn {
        let Some(top) = self.top else { return self.put_aside(entry, prev, prev_tag) };
        let position = entry.position;
        let taken = if position.epoch != top.epoch {
            TakenIn::Other
        } else if position.offset <= top.offset {
            if self.has(position) { TakenIn::Known } else { TakenIn::Other }
        } else if prev > top.offset {
            return self.put_aside(entry, prev, prev_tag);
        } else if prev < top.offset || prev_tag.is_some_and(|tag| tag != top.tag) {
            // Somebody who had seen less has gone on from there.
            TakenIn::Other
        } else {
            self.push(Arc::clone(&entry));
            let mut new = vec![entry];
            new.extend(self.take_aside());
            return TakenIn::New(new);
        };
        self.dropped.push(entry);
        taken
    }

    /// Whether the entry before this place was here. Below the ring nothing is known of it, and nobody needs it.
    fn has(&self, place: Position) -> bool {
        place.offset <= self.base.offset || self.place_of(place.offset) == place
    }

    /// Keeps an entry until those before it are here. One too many is read again instead.
    fn put_aside(&mut self, entry: Arc<Entry>, prev: u64, prev_tag: Option<Tag>) -> TakenIn {
        let too_many = if self.aside.len() < ASIDE {
            self.aside.insert(prev, Aside { prev_tag, entry }).map(|before| before.entry)
        } else {
            Some(entry)
        };
        self.dropped.extend(too_many);
        TakenIn::Gap
    }
}
