//! A connection as a member of groups.

use std::sync::Arc;

use super::{Connection, Life, Rare, way_out::Writer};
use crate::{
    ChannelName, Envelope,
    close::{Cause, CloseCode},
    groups::{
        budget::Ledger,
        fan_out::{Class, Form},
        history::{log::Log, lost::LostReason, position::Position},
        inbox::Mail,
        key::Key,
        member::{Member, Memberships, Taken},
        outbox::Outbox,
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

    fn is_told_places(&self) -> bool {
        self.has_places()
    }

    fn is_left_out(&self, left_out: &[ChannelName]) -> bool {
        self.is_left_out_of(left_out)
    }

    fn was_one_of(&self, left_out: &[ChannelName]) -> bool {
        self.places.get().is_some_and(|places| places.was_one_of(left_out))
    }

    fn take_logged(&self, form: &Form, envelope: &Envelope, alias: u32, position: Position) -> Taken {
        if self.has_ended() {
            return Taken::Ended;
        }
        let taken = match form {
            // It was counted, and its place is passed.
            Form::Failed => true,
            Form::Packet(packet) => self.relay_logged(packet),
            Form::Foreign(..) | Form::Handler => {
                !self.is_full() && self.push_mail(Mail::Logged(envelope.clone(), alias, position))
            }
        };
        match taken {
            true => Taken::Yes,
            false if self.has_ended() => Taken::Ended,
            false => Taken::Full,
        }
    }

    fn take_foreign(&self, envelope: Envelope, alias: u32, mark: f64) -> bool {
        self.push_mail(Mail::Foreign(envelope, alias, mark))
    }

    fn introduce(&self, log: &Arc<Log>) {
        self.introduce_member(log);
    }

    fn supersede(&self) {
        self.end(Cause::Superseded, CloseCode::NORMAL, "superseded");
    }

    fn note_lost(&self, log: &Arc<Log>, reason: LostReason, from: Position) {
        self.tell_lost(log, reason, from);
        if self.has_ended() {
            return;
        }
        let was_full = self.is_full();
        // A member that loses events gets none before it is told. So this is one mail for each time.
        self.inbox.borrow_mut().push_beyond(Mail::Lost(log.group.clone(), reason));
        if !was_full && self.is_full() {
            self.hub.note_full(true);
        }
        self.wake_task();
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
        let more = |rare: &Rare| rare.kept.get() + rare.input_bytes();
        outbox.bytes()
            + self.at_early(Outbox::bytes).unwrap_or(0)
            + self.rare.get().map_or(0, |rare| more(rare))
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

    /// As [`relay`](Member::relay), for an entry of a log: a frame for which there is no room stays in the log.
    fn relay_logged(&self, packet: &Packet) -> bool {
        if self.life.get() == Life::Open && !self.busy.get() && self.inbox.borrow().is_empty() {
            return self.has_room(packet.bytes.len()) && self.push_frame(packet.clone()).unwrap_or(false);
        }
        self.mark_dirty();
        !self.is_full() && self.push_mail(Mail::Packet(packet.clone()))
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
