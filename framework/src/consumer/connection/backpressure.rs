//! Waits until a client has read enough for more to be sent.

use std::rc::{Rc, Weak};

use tokio::{sync::Notify, time::timeout};

use super::{Connection, Life, introduction::GREETING};
use crate::{error::Closed, groups::outbox::Outbox};

impl Connection {
    /// Whether more may be sent to the client: little waits for it, and there is room in the mount's budget.
    ///
    /// If the outboxes of the mount hold more than half of the budget, nothing may wait. So many slow clients together
    /// hold no more than one message each.
    fn is_ready(&self) -> bool {
        let outbox = self.outbox.borrow();
        // At this mark the client's next message is served too. So a stream does not keep a client from being heard.
        let few = self.limits.read_ahead.min(self.limits.outbox_size / 2);
        let has_few = |outbox: &Outbox| outbox.has_few(few, &self.limits);
        if !has_few(&outbox) || self.at_early(has_few) == Some(false) {
            return false;
        }
        let kept = self.rare.get().map_or(0, |rare| rare.kept.get());
        let nothing_waits = outbox.is_empty() && kept == 0 && self.at_early(Outbox::is_empty) != Some(false);
        nothing_waits || !outbox.ledger().is_half_full()
    }

    /// Tells those who wait for room that the client has read something, or that the connection has ended.
    ///
    /// If nobody has ever waited, this is one comparison for each write.
    pub(super) fn note_taken(&self) {
        if let Some(rare) = self.rare.get()
            && let Some(room) = rare.room.get()
        {
            room.notify_waiters();
        }
    }

    /// Who is told of room. It is made when somebody first waits.
    fn room(&self) -> Rc<Notify> {
        Rc::clone(self.rare().room.get_or_init(Rc::default))
    }
}

/// Waits until little waits for the client. It does not keep the connection alive.
pub(crate) async fn ready(connection: Weak<Connection>) -> Result<(), Closed> {
    wait_until(connection, Connection::is_ready).await
}

/// Waits until a frame of so many bytes fits into the outbox.
pub(crate) async fn fitting(connection: Weak<Connection>, bytes: usize) -> Result<(), Closed> {
    wait_until(connection, |connection| connection.has_room(bytes)).await
}

async fn wait_until(
    connection: Weak<Connection>,
    is_enough: impl Fn(&Connection) -> bool,
) -> Result<(), Closed> {
    loop {
        let (room, waits_for_greeting) = {
            let connection = connection.upgrade().ok_or(Closed)?;
            if connection.life.get() != Life::Open || connection.has_ended() {
                return Err(Closed);
            }
            if is_enough(&connection) {
                return Ok(());
            }
            (connection.room(), connection.waits_for_greeting())
        };
        // Nothing runs on this thread between the look and this wait.
        let has_room = room.notified();
        if !waits_for_greeting {
            has_room.await;
        } else if timeout(GREETING, has_room).await.is_err()
            && let Some(connection) = connection.upgrade()
        {
            // The hook that waits here may be what keeps the client from being greeted.
            connection.greet_early();
        }
    }
}
