//! What goes to the client of a connection, up to its outbox.

use std::rc::Rc;

use super::{Connection, Life};
use crate::{
    Outgoing,
    close::{Cause, CloseCode},
    error::Closed,
    groups::{budget::Ledger, outbox::Pushed},
    wire::Packet,
};

impl Connection {
    /// Queues the answer to a ping; without effect once a close frame is queued.
    pub(crate) fn pong(&self, payload: &[u8]) {
        // Closed: nothing may follow the close frame (RFC 6455, section 5.5.1).
        let _ = self.write(self.class.wire().encode_pong(payload));
    }

    /// Queues a message for the client, compressed where that was agreed on.
    pub(crate) fn send(&self, frame: &Outgoing) -> Result<(), Closed> {
        if self.life.get() != Life::Open {
            return Err(Closed);
        }
        // What the outbox will not take is not compressed first.
        let refused = self.outbox.borrow().refuses(frame, &self.limits);
        let counters = (!refused).then(|| &self.hub.directory().counters);
        let frame = self.class.encode(frame, counters);
        self.write(frame)
    }

    /// Queues one encoded frame.
    pub(crate) fn write(&self, frame: impl Into<Packet>) -> Result<(), Closed> {
        self.catch_up();
        // What the policy drops is no error to the sender: it is counted.
        self.push_frame(frame.into()).map(|_queued| ())
    }

    /// Queues one encoded frame; false where the overflow policy dropped it. No user code: hubs call it while borrowed.
    pub(super) fn push_frame(&self, frame: Packet) -> Result<bool, Closed> {
        if self.life.get() != Life::Open {
            return Err(Closed);
        }
        let counters = self.counters();
        let pushed = self.outbox.borrow_mut().push(frame, &self.limits);
        match pushed {
            Pushed::Queued { dropped: 0, over_budget: false } => {}
            Pushed::Queued { dropped, over_budget } => {
                counters.outbox_full.add(dropped as u64);
                if over_budget {
                    self.relieve();
                }
            }
            Pushed::Replaced { dropped } => {
                counters.conflated.one();
                counters.outbox_full.add(dropped as u64);
            }
            Pushed::Refused => {
                counters.outbox_full.one();
                return Ok(false);
            }
            Pushed::TooSlow => {
                counters.too_slow.one();
                self.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "read too slowly");
                return Err(Closed);
            }
            Pushed::Sealed => return Err(Closed),
        }
        self.mark_dirty();
        Ok(true)
    }

    /// Whether so many bytes more fit into the outbox.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let outbox = self.outbox.borrow();
        outbox.is_empty() || outbox.bytes() + bytes <= self.limits.outbox_size
    }

    /// Has the process make room, which may cost this connection.
    #[cold]
    pub(super) fn relieve(&self) {
        self.hub.relieve(&self.ledger());
    }

    /// Where its bytes count.
    pub(crate) fn ledger(&self) -> Rc<Ledger> {
        Rc::clone(self.outbox.borrow().ledger())
    }
}
