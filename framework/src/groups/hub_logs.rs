//! A hub's members in the logs of their groups, and how the next entries reach them.

use std::{cell::Cell, rc::Rc, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Delivery,
    behind::Hold,
    catching_up,
    history::{
        entry::Entry,
        log::{Log, News},
        lost::LostReason,
        position::Position,
    },
    hub::{Hub, LocalGroup},
    local_log::LocalLog,
    member::Member,
    slices::Logged,
};
use crate::GroupName;

/// How many entries are taken from a log at once.
const BATCH: usize = 64;

impl Hub {
    /// Opens a thread's part of a log for its first member.
    pub(super) fn open_local_log(&self, group: &GroupName, local: &mut LocalGroup) -> Option<Arc<Log>> {
        if local.log.is_none() {
            let directory = self.directory();
            let log = directory.logs.of(&directory.config, group)?;
            // The thread is in the directory by now. So the sender of every entry behind this place finds it there.
            let hub = self.queue().id();
            let served = Cell::new(log.open_thread(hub));
            local.log = Some(Box::new(LocalLog { hub, served, began: Cell::new(None), log }));
        }
        local.log.as_ref().map(|local| Arc::clone(&local.log))
    }

    /// The place to which the members of this thread have come that are not behind.
    pub(crate) fn served_of(&self, log: &Log) -> Option<Position> {
        let groups = self.groups.borrow();
        let local = groups.get(&log.group)?.log.as_ref()?;
        local.served.get().or_else(|| {
            // Entries may come before the members that have waited for this are looked at. They must not miss these.
            local.began.set(log.opened());
            local.served.set(log.opened());
            local.served.get()
        })
    }

    /// Where those members begin that joined before the log was open. `None` before it is.
    pub(super) fn began_of(&self, log: &Log) -> Option<Position> {
        let served = self.served_of(log)?;
        let groups = self.groups.borrow();
        groups.get(&log.group)?.log.as_ref()?.began.get().or(Some(served))
    }

    /// Lets a member wait where it is, until it is decided where it goes on.
    pub(crate) fn hold(&self, member: &dyn Member, log: &Arc<Log>) {
        // Before the log is open, the place is not known: the decision sets it.
        self.behind().put(member, log, self.served_of(log), Hold::Decision);
    }

    /// Lets a member that is held wait at a place.
    pub(crate) fn hold_at(&self, member: &dyn Member, log: &Arc<Log>, cursor: Position) {
        if member.memberships().is_in(&log.group) {
            self.behind().put(member, log, Some(cursor), Hold::Decision);
        }
    }

    /// Lets a member go on, from a place or from where it is.
    pub(crate) fn go_on(&self, member: &dyn Member, log: &Arc<Log>, from: Option<Position>) {
        if !member.memberships().is_in(&log.group) {
            return;
        }
        let Some(cursor) = from.or_else(|| self.place_of(member, log)) else {
            // The log is not open yet, because its server is away.
            return self.behind().put(member, log, None, Hold::Thread);
        };
        if self.served_of(log) == Some(cursor) && self.go_live(member, log) {
            return;
        }
        self.behind().put(member, log, Some(cursor), Hold::Free);
    }

    /// Where a member is in a log. `None` if the log is not open yet, and the member has not come back to a place in it.
    pub(crate) fn place_of(&self, member: &dyn Member, log: &Log) -> Option<Position> {
        match self.behind().with_place(member.key(), log, |place| place.cursor) {
            None => self.served_of(log),
            // It has joined before the log was open. Others on this thread may have come further since.
            Some(None) => self.began_of(log),
            Some(cursor) => cursor,
        }
    }

    /// Ends a member's part in a log, before it leaves the group.
    pub(super) fn leave_log(&self, member: &dyn Member, group: &GroupName) {
        if self.behind().is_empty() {
            return;
        }
        let log =
            self.groups.borrow().get(group).and_then(|local| Some(Arc::clone(&local.log.as_ref()?.log)));
        if let Some(log) = log {
            catching_up::finish(self, member, &log);
            self.behind().remove(member.key(), Some(&log));
        }
    }

    /// Makes a member that has come to the place of the others one of them. False if it must wait for room in its inbox.
    pub(super) fn go_live(&self, member: &dyn Member, log: &Log) -> bool {
        // Large sends may be owed to it. Those of this log pass it by while it is behind, because it has their entries.
        // The others must have gone to it before.
        if !self.slices.catch_up(member, 0).all {
            return false;
        }
        self.behind().remove(member.key(), Some(log));
        member.memberships().set_behind(&log.group, false);
        true
    }

    /// Hands the members of this thread what the log has got since the last call.
    ///
    /// If the group is large, this starts large sends, and the last of them takes `reply` and `room`.
    pub(super) fn serve_log(
        &self,
        log: &Arc<Log>,
        reply: &mut Option<oneshot::Sender<Delivery>>,
        room: &mut Option<OwnedSemaphorePermit>,
    ) {
        while let Some(before) = self.served_of(log) {
            match log.after_all_of(self.queue().id(), before, BATCH) {
                News::Entries(entries) if entries.is_empty() => break,
                News::Entries(entries) => {
                    let last = entries.len() - 1;
                    for (at, entry) in entries.into_iter().enumerate() {
                        self.serve_entry(log, entry, at == last, reply, room);
                    }
                }
                News::Lost { reason, from } => self.lose_all(log, reason, from),
            }
        }
        if !self.behind().is_empty() {
            self.behind().wake_log(log);
        }
    }

    /// Starts the large sends for what the log has got since the last call. The last one answers.
    pub(super) fn serve_large_log(
        &self,
        log: &Arc<Log>,
        entry: &Entry,
        mut reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
    ) {
        self.serve_log(log, &mut reply, &mut Some(room));
        if let Some(reply) = reply {
            // Another sender has started it meanwhile, and waits for it. This one may have given up.
            let _ = reply.send(self.count_for(log, entry));
        }
    }

    /// Hands out the next entry. In a large group the last one of a call takes `reply` and `room`.
    fn serve_entry(
        &self,
        log: &Arc<Log>,
        entry: Arc<Entry>,
        is_last: bool,
        reply: &mut Option<oneshot::Sender<Delivery>>,
        room: &mut Option<OwnedSemaphorePermit>,
    ) {
        let groups = self.groups.borrow();
        let (Some(local), Some(parcel)) = (groups.get(&log.group), entry.parcel()) else { return };
        let Some(before) = local.log.as_ref().and_then(|local| local.served.replace(Some(entry.position)))
        else {
            return;
        };
        let logged = Logged { log: Arc::clone(log), entry: Arc::clone(&entry), before };
        if local.is_large() {
            let parcel = parcel.clone();
            drop(groups);
            let reply = if is_last { reply.take() } else { None };
            self.start_large(log.group.clone(), parcel, Some(logged), reply, room.take());
            return;
        }
        let except = parcel.except.on(self.queue().id());
        let pending = self.slices.has_pending();
        for members in &local.classes {
            let form = parcel.form(&members.class);
            for member in members.list.iter() {
                if (!except.is_nobody() && except.has(member.key())) || logged.leaves_out(&**member) {
                    continue;
                }
                if pending {
                    self.slices.catch_up(&**member, u64::MAX);
                }
                logged.hand_over(&**member, form, self.behind());
            }
        }
    }

    /// Tells all members that entries may be missing. They go on from another place.
    fn lose_all(&self, log: &Arc<Log>, reason: LostReason, from: Position) {
        let members: Vec<Rc<dyn Member>> = {
            let groups = self.groups.borrow();
            let Some(local) = groups.get(&log.group) else { return };
            if let Some(local) = &local.log {
                local.served.set(Some(from));
            }
            local.members().cloned().collect()
        };
        for member in members {
            // A member that is behind finds it out for itself, where it is.
            if !member.memberships().is_behind(&log.group) {
                // What large sends owe it comes before what is missing.
                self.slices.catch_up(&*member, u64::MAX);
                self.directory().counters.lost(reason);
                member.note_lost(log, reason, from);
            }
        }
    }

    /// How many members of this thread an entry is for.
    pub(super) fn count_for(&self, log: &Log, entry: &Entry) -> Delivery {
        let groups = self.groups.borrow();
        let Some(local) = groups.get(&log.group) else { return Delivery::default() };
        let left_out = entry.parcel().map(|parcel| parcel.except.clone()).unwrap_or_default();
        let left_out = left_out.on(self.queue().id());
        let is_for = |member: &&Rc<dyn Member>| {
            !member.has_ended()
                && (left_out.is_nobody() || !left_out.has(member.key()))
                && (entry.left_out.is_empty() || !member.was_one_of(&entry.left_out))
        };
        Delivery { delivered: local.members().filter(is_for).count() as u64, ..Delivery::default() }
    }
}
