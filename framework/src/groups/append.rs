//! A send to a group with a log, and what a server brings for one.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::{
    Delivery,
    directory::Directory,
    history::{
        entry::Entry,
        log::{Log, ReadPart},
        lost::{LostReason, Outcome},
        position::Position,
        store::Part,
    },
    load::Load,
};
use crate::{ChannelName, Envelope, GroupName, LayerError};

impl Directory {
    /// The log to which a send in this process adds its event. `None` if the event is not kept, or a server keeps it.
    pub(super) fn log_for(&self, group: &GroupName, envelope: &Envelope) -> Option<Arc<Log>> {
        if !self.logs.are_kept() || self.logs.store().is_some() || envelope.is_transient() {
            return None;
        }
        self.logs.of(&self.config, group)
    }

    /// Adds an event to a log that is only in this process, and hands it to the members.
    pub(crate) async fn publish_logged(
        &self,
        log: &Arc<Log>,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        match self.logs.append(log, envelope, except) {
            Some(entry) => self.emit(log, std::slice::from_ref(&entry), count).await,
            // The layer was closed this moment.
            None => Delivery::default(),
        }
    }

    /// Hands new entries to the members, behind those before them. With `count` it counts who gets the first one.
    ///
    /// If the caller gives up, the members get them all the same.
    pub(super) async fn emit(&self, log: &Arc<Log>, entries: &[Arc<Entry>], count: bool) -> Delivery {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Delivery::default() };
        // Nobody gets an entry before its bytes are made. So no wait comes between its way into the log and this.
        let joined = self.members_of(&log.group);
        let classes = || joined.iter().flat_map(|joined| &joined.threads).flat_map(|thread| &thread.classes);
        let has_queues = joined.as_ref().is_some_and(|joined| !joined.queues.is_empty());
        for entry in entries {
            entry.form(log.alias, &self.process, classes(), &self.counters);
            if !has_queues {
                entry.queued.get_or_init(Delivery::default);
            }
        }
        let may_go = log.note_formed(last);
        let emitting = Emitting { directory: self, log, is_done: false };
        if !may_go {
            // Another thread still makes the bytes of those before it. Who is sent something later must not get it first.
            log.wait_for(last).await;
        }
        if has_queues {
            while !self.publish_log_to_queues(log) && !log.wait_for_queues(last).await {}
            // A log that keeps few may have dropped some of them by now. Then nobody else hands them out.
            entries.iter().for_each(|entry| self.publish_entry_to_queues(log, entry));
        }
        // Looked up again. A thread that joins after this finds the entries in the log.
        let Some(members) = self.members_of(&log.group) else { return emitting.done(Delivery::default()) };
        let sum = first.queued.get().copied().unwrap_or_default();
        // Each thread hands out all that the log has.
        let delivery = self.distribute(&log.group, &members, Load::Log(log, first), count, sum).await;
        emitting.done(delivery)
    }

    /// Hands the queues of a group what they have not got of its log. False if somebody else is at it.
    fn publish_log_to_queues(&self, log: &Log) -> bool {
        let Some(queueing) = log.queueing() else { return false };
        while let Some(entry) = queueing.next() {
            self.publish_entry_to_queues(log, &entry);
        }
        true
    }

    /// Hands an entry to the queues of a group, unless it was. User code may run: a full queue drops an event.
    fn publish_entry_to_queues(&self, log: &Log, entry: &Entry) {
        if entry.queued.get().is_some() {
            return;
        }
        let members = self.members_of(&log.group);
        let publish =
            |members: &_| self.publish_to_queues(&log.group, members, &entry.left_out, &entry.envelope);
        let queued = members.as_deref().map(publish).unwrap_or_default();
        entry.queued.get_or_init(|| queued);
    }

    /// Takes in what a test's server brings, as a layer does: what is missing before it is read.
    #[cfg(test)]
    pub(crate) async fn arrive(&self, group: &GroupName, arrival: super::history::store::Arrival) {
        use super::history::log::TakenIn;

        let Some(log) = self.logs.find(group) else { return };
        let payload = arrival.entry.payload.clone();
        let envelope = Envelope::from_wire(crate::event::Format::MsgPack, payload).expect("a test's event");
        let taken = log.take_in(arrival, envelope);
        self.logs.check_bytes();
        match taken {
            TakenIn::New(entries) => drop(self.emit(&log, &entries, false).await),
            TakenIn::Known => {}
            TakenIn::Gap | TakenIn::Other => drop(self.fill(&log).await),
        }
    }

    /// Reads what a log lacks at its end, and opens it if it is not open. Does nothing without a server.
    ///
    /// # Errors
    /// If the server could not be read.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis", test)),
        expect(dead_code, reason = "no layer here has a server")
    )]
    pub(crate) async fn fill(&self, log: &Arc<Log>) -> Result<(), LayerError> {
        loop {
            let seen = log.seen();
            let (reading, _) = Reading::begin(log).await;
            // What comes is what counts, not what the server says of the place.
            let _ = self.read(reading, seen, log.policy.size()).await?;
            if seen == log.seen() || !log.has_aside() {
                return Ok(());
            }
        }
    }

    /// Opens a log that a server keeps, before its first member in this process counts on it.
    ///
    /// If the server cannot be read, the log is opened when the layer has its server back.
    pub(crate) async fn open(&self, log: &Arc<Log>) {
        while log.opened().is_none() && self.logs.store().is_some() {
            let (reading, has_waited) = Reading::begin(log).await;
            // Who has waited finds it open, or that it cannot be read.
            if has_waited || self.read(reading, log.seen(), log.policy.size()).await.is_err() {
                return;
            }
        }
    }

    /// The place from which the newest `count` entries follow, as far as they are kept, and whether these are all. The place
    /// is `None` if the log is not open, because its server cannot be read.
    pub(crate) async fn before_last(&self, log: &Arc<Log>, count: usize) -> (Option<Position>, Outcome) {
        let count = count.min(log.policy.size());
        let unlogged = || {
            self.counters.lost(LostReason::Unlogged);
            Outcome::Lost(LostReason::Unlogged)
        };
        if log.opened().is_none() {
            return (None, unlogged());
        }
        let (place, found) = log.before_last(count);
        if found >= count || self.logs.store().is_none() {
            return (Some(place), Outcome::Recovered);
        }
        // One more, so that the place before them is known. If the server cannot be read, there may be others.
        let (reading, _) = Reading::begin(log).await;
        let outcome = match self.read(reading, None, count + 1).await {
            Ok(_) => Outcome::Recovered,
            Err(_) => unlogged(),
        };
        (Some(log.before_last(count).0), outcome)
    }

    /// Finds a place in a log, if all that came after it can be had.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) async fn reach(&self, log: &Arc<Log>, place: Position) -> Result<Position, LostReason> {
        let asks = self.logs.store().is_some();
        let mut has_filled = false;
        if let Some(known) = log.reach(place, asks) {
            return known;
        }
        loop {
            let (reading, _) = Reading::begin(log).await;
            // What others have read meanwhile may be enough.
            if let Some(known) = log.reach(place, asks) {
                return known;
            }
            let is_behind =
                log.seen().is_none_or(|seen| seen.epoch != place.epoch || seen.offset < place.offset);
            if is_behind && !std::mem::replace(&mut has_filled, true) {
                // This process has seen less than the client, or nothing yet.
                let seen = log.seen();
                self.read(reading, seen, log.policy.size()).await.map_err(|_| LostReason::Unlogged)?.ok();
                continue;
            }
            let read = self.read(reading, Some(place), log.policy.size()).await;
            return read.map_err(|_| LostReason::Unlogged)?;
        }
    }

    /// As [`read`](Self::read), when no other read is under way.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis")),
        expect(dead_code, reason = "no layer here has a server")
    )]
    pub(super) async fn read_behind(
        &self,
        log: &Arc<Log>,
        place: Option<Position>,
    ) -> Result<Result<Position, LostReason>, LayerError> {
        let (reading, _) = Reading::begin(log).await;
        self.read(reading, place, log.policy.size()).await
    }

    /// Reads a log behind a place, or its newest part. Returns what the server says of the place.
    pub(super) async fn read(
        &self,
        reading: Reading<'_>,
        place: Option<Position>,
        most: usize,
    ) -> Result<Result<Position, LostReason>, LayerError> {
        let log = reading.log;
        let Some(store) = self.logs.store() else { return Ok(Err(LostReason::Trimmed)) };
        // Before the log is open, nobody here needs what is in it.
        let most = if log.opened().is_some() || place.is_some() { most } else { 0 };
        let part = place.map_or(Part::Newest, Part::After);
        let mut read = store.read(&log.group, part, most, log.seen()).await?;
        if log.seen().is_some_and(|seen| seen.epoch != read.top.epoch) && part != Part::Newest {
            // The log has begun anew. What came since then stands at other offsets, and is news for the members here.
            read = store.read(&log.group, Part::Newest, most, log.seen()).await?;
        }
        let (new, verdict) = log.absorb(place, ReadPart::new(read));
        drop(reading);
        self.logs.check_bytes();
        if new.is_empty() {
            self.look_at(log);
        } else {
            self.emit(log, &new, false).await;
        }
        Ok(verdict)
    }

    /// Has all threads look at a log: it may have begun anew.
    fn look_at(&self, log: &Arc<Log>) {
        for thread in self.members_of(&log.group).iter().flat_map(|members| &members.threads) {
            thread.queue.look_at(log);
        }
    }
}

/// A send of which the threads may not know yet. If its future is dropped, they are told to look at the log.
struct Emitting<'a> {
    directory: &'a Directory,
    log: &'a Arc<Log>,
    is_done: bool,
}

impl Emitting<'_> {
    fn done(mut self, delivery: Delivery) -> Delivery {
        self.is_done = true;
        delivery
    }
}

impl Drop for Emitting<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.directory.publish_log_to_queues(self.log);
            self.directory.look_at(self.log);
        }
    }
}

/// A read of a log, of which there is one at a time. It ends when this is dropped, also if the caller gives up.
pub(super) struct Reading<'a> {
    log: &'a Arc<Log>,
    _lock: MutexGuard<'a, ()>,
}

impl<'a> Reading<'a> {
    /// Begins a read, when no other is under way. The second is whether it had to wait for another.
    pub(super) async fn begin(log: &'a Arc<Log>) -> (Self, bool) {
        let free = log.reading.try_lock();
        let has_waited = free.is_err();
        let _lock = match free {
            Ok(lock) => lock,
            Err(_) => log.reading.lock().await,
        };
        (Self { log, _lock }, has_waited)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
