//! A connection as a member of groups.

use super::{Connection, Life, Rare, way_out::Writer};
use crate::{
    Envelope,
    close::{Cause, CloseCode},
    groups::{
        budget::{Charge, Ledger},
        fan_out::Class,
        inbox::Mail,
        key::Key,
        member::{Member, Memberships},
        pace,
    },
    wire::Packet,
};

impl Member for Connection {
    fn key(&self) -> Key {
        self.key
    }

    fn class(&self) -> &Class {
        &self.class
    }

    fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    fn max_groups(&self) -> usize {
        self.limits.groups
    }

    fn has_ended(&self) -> bool {
        self.ending.get().is_some()
    }

    fn drain_id(&self) -> u64 {
        self.guard.drain_id()
    }

    /// The frame goes straight to the outbox if that keeps the order, otherwise through the inbox.
    fn relay(&self, packet: Packet) -> bool {
        if self.life.get() == Life::Open && !self.busy.get() && self.inbox.borrow().is_empty() {
            return self.push_frame(packet).unwrap_or(false);
        }
        // By the time of the flush the frame is most likely in the outbox. So a sender's own copy keeps its place
        // among the copies of the others.
        self.mark_dirty();
        self.push_mail(Mail::Packet(packet))
    }

    fn take_event(&self, envelope: Envelope) -> bool {
        self.push_mail(Mail::Event(envelope))
    }

    fn is_full(&self) -> bool {
        self.inbox.borrow().is_full()
    }

    fn may_make_room(&self, since: u64) -> bool {
        !self.has_ended() && (!self.busy.get() || (self.ran.get() >= since && self.sending.get() == 0))
    }

    fn note_sending(&self, by: isize) {
        self.sending.set(self.sending.get().saturating_add_signed(by as i32));
    }

    fn flush(&self) {
        if self.writer.get() == Writer::Due {
            // From now on the writer has to be told again.
            self.writer.set(Writer::Parked);
        }
        self.write_out();
    }

    fn look_due(&self) {
        self.clocks.due.set(true);
        self.wake_task();
    }

    fn held_of(&self, ledger: &Ledger) -> usize {
        let outbox = self.outbox.borrow();
        if !std::ptr::eq(&raw const **outbox.ledger(), ledger) {
            return 0;
        }
        let more = |rare: &Rare| rare.kept.get() + rare.input.borrow().as_ref().map_or(0, Charge::bytes);
        outbox.bytes() + self.rare.get().map_or(0, |rare| more(rare))
    }

    fn give_way(&self) {
        self.make_way();
    }

    fn shut_down(&self) {
        self.end(Cause::Shutdown, CloseCode::RESTART, &pace::reason(self.retry_hint()));
    }
}

impl Connection {
    /// Queues an event for its handler, behind everything that its groups sent before.
    pub(crate) fn push_event(&self, envelope: Envelope) -> bool {
        self.catch_up();
        self.take_event(envelope)
    }

    /// Takes what large groups have sent so far, up to the room in the inbox.
    ///
    /// What does not fit keeps its place among the events. Frames do not wait for events.
    pub(super) fn catch_up(&self) {
        self.hub.catch_up(self);
    }

    fn push_mail(&self, mail: Mail) -> bool {
        if self.has_ended() {
            return false;
        }
        let mut inbox = self.inbox.borrow_mut();
        let refused = inbox.push(mail);
        let full = inbox.is_full();
        drop(inbox);
        if refused.is_err() {
            self.counters().inbox_full.one();
            return false;
        }
        if full {
            self.hub.note_full(true);
        }
        if !self.busy.get() {
            self.wake_task();
        }
        true
    }
}
