//! Puts what goes to the client into the connection's outbox.

use std::rc::Rc;

use super::{Connection, Life, places::Kept};
use crate::{
    Outgoing,
    close::{Cause, CloseCode},
    error::Closed,
    groups::{
        budget::Ledger,
        outbox::{Outbox, Pushed},
    },
    wire::{Packet, history::down::Head},
};

impl Connection {
    /// Queues the answer to a ping. Does nothing after a close frame.
    pub(crate) fn pong(&self, payload: &[u8]) {
        self.catch_up();
        let pong = self.class.wire().encode_pong(payload);
        let pushed = |outbox: &mut Outbox| outbox.push_pong(pong, &self.limits);
        // It fails after a close frame, which nothing may follow (RFC 6455, section 5.5.1).
        let _ = self.push_with(pushed);
    }

    /// Queues a message for the client, compressed if client and server agreed on that.
    pub(crate) fn send(&self, message: &Outgoing) -> Result<(), Closed> {
        self.send_headed(Head::Plain, message)
    }

    /// As [`send`](Self::send), with what the message is.
    pub(super) fn send_headed(&self, head: Head, message: &Outgoing) -> Result<(), Closed> {
        if self.life.get() != Life::Open {
            return Err(Closed);
        }
        // A message that the outbox refuses is not compressed first.
        let refuses = |outbox: &Outbox| outbox.refuses(message, &self.limits);
        let refused = self.at_early(refuses).unwrap_or_else(|| refuses(&self.outbox.borrow()));
        let counters = (!refused).then(|| &self.hub.directory().counters);
        let frame = self.class.encode(head, message, counters);
        self.write(frame).map(|_queued| ())
    }

    /// Queues one encoded frame.
    ///
    /// A frame that the overflow policy drops is counted, and is no error for the sender: the result is then false.
    pub(crate) fn write(&self, frame: impl Into<Packet>) -> Result<bool, Closed> {
        self.catch_up();
        self.push_frame(frame.into())
    }

    /// Queues the frame of a relayed event that has waited in the inbox.
    pub(crate) fn write_mail(&self, frame: Packet) {
        // It fails if the connection has ended meanwhile: then the frame cannot be sent.
        if self.write(frame) == Ok(false) && self.counts_on_each_frame() {
            self.too_slow();
        }
    }

    /// Queues one encoded frame. Returns false if the overflow policy dropped it.
    ///
    /// It calls no user code, because hubs call it while they are borrowed.
    pub(super) fn push_frame(&self, frame: Packet) -> Result<bool, Closed> {
        let frame = match self.places.get() {
            None => frame,
            Some(_) if self.life.get() != Life::Open => return Err(Closed),
            Some(places) => match places.keep(frame, &self.limits, || self.ledger()) {
                Kept::Early(pushed) => return self.note_pushed(pushed),
                Kept::Greeted(frame) => frame,
            },
        };
        self.push_with(|outbox| outbox.push(frame, &self.limits))
    }

    #[inline]
    fn push_with(&self, push: impl FnOnce(&mut Outbox) -> Pushed) -> Result<bool, Closed> {
        if self.life.get() != Life::Open {
            return Err(Closed);
        }
        let pushed = push(&mut self.outbox.borrow_mut());
        let is_queued = self.note_pushed(pushed)?;
        if is_queued {
            self.mark_dirty();
        }
        Ok(is_queued)
    }

    /// Does what the result of a push asks for. Returns false if the overflow policy dropped the frame.
    #[inline]
    fn note_pushed(&self, pushed: Pushed) -> Result<bool, Closed> {
        let counters = self.counters();
        match pushed {
            Pushed::Queued { dropped: 0, over_budget: false } => {}
            Pushed::Queued { dropped, over_budget } => {
                counters.outbox_full.add(dropped as u64);
                if dropped > 0 && self.counts_on_each_frame() {
                    self.too_slow();
                    return Err(Closed);
                }
                if over_budget {
                    self.relieve();
                }
            }
            Pushed::Replaced { dropped } => {
                counters.conflated.one();
                counters.outbox_full.add(dropped as u64);
                if dropped > 0 && self.counts_on_each_frame() {
                    self.too_slow();
                    return Err(Closed);
                }
            }
            Pushed::Refused => {
                counters.outbox_full.one();
                return Ok(false);
            }
            Pushed::TooSlow => {
                self.too_slow();
                return Err(Closed);
            }
            Pushed::Sealed => return Err(Closed),
        }
        Ok(true)
    }

    /// Queues what has waited for the greeting, behind the greeting.
    pub(super) fn push_early(&self, early: Outbox) {
        let over_budget = self.outbox.borrow_mut().take_over(early);
        self.mark_dirty();
        if over_budget {
            self.relieve();
        }
    }

    /// Looks at what waits for the greeting. `None` if nothing does.
    pub(super) fn at_early<R>(&self, look: impl FnOnce(&Outbox) -> R) -> Option<R> {
        self.places.get()?.at_early(look)
    }

    /// Ends the connection because its client reads too slowly.
    #[cold]
    pub(super) fn too_slow(&self) {
        self.counters().too_slow.one();
        self.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "read too slowly");
    }

    /// Whether the outbox has room for this many more bytes.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let fits = |outbox: &Outbox| outbox.fits(bytes, &self.limits);
        self.at_early(fits).unwrap_or_else(|| fits(&self.outbox.borrow()))
    }

    /// Makes the process free memory, which may end this connection.
    #[cold]
    pub(super) fn relieve(&self) {
        self.hub.relieve(&self.ledger());
    }

    /// The ledger that counts its bytes.
    pub(crate) fn ledger(&self) -> Rc<Ledger> {
        Rc::clone(self.outbox.borrow().ledger())
    }
}
