//! Ends a connection. The first cause stays, and nothing goes out after the close frame.

use std::{collections::VecDeque, time::Duration};

use bytestring::ByteString;
use tokio::time::Instant;

use super::{Connection, ConnectionEnd, Life, RequestAnswer};
use crate::{
    close::{Cause, CloseCode, Disconnect},
    groups::inbox::Mail,
    middleware::Rejection,
};

/// The greatest length of a close frame, in bytes.
const MOST_OF_A_CLOSE: usize = 127;

impl Connection {
    /// Whether the connection has ended or is closing. Then nothing can be sent to it any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some()
    }

    /// Whether the client left without a close frame.
    pub(crate) fn is_gone(&self) -> bool {
        self.ending.get().is_some_and(|ending| ending.how.cause == Cause::Gone)
    }

    /// Whether the client's close frame was read.
    pub(crate) fn is_closed_by_client(&self) -> bool {
        self.client_closed.get()
    }

    /// How long hooks may still run. All hooks after the end share one grace period.
    pub(crate) fn grace_left(&self) -> Option<Duration> {
        Some(self.limits.disconnect_grace.saturating_sub(self.ending.get()?.at.elapsed()))
    }

    pub(crate) fn ending(&self) -> Option<Disconnect> {
        self.ending.get().map(|ending| ending.how.clone())
    }

    pub(super) fn set_ending(&self, cause: Cause, code: CloseCode, reason: ByteString) {
        self.ending.get_or_init(|| {
            Box::new(ConnectionEnd { how: Disconnect { code, reason, cause }, at: Instant::now() })
        });
        self.wake_task();
        self.note_taken();
    }

    /// Ends the connection from this side: with a close frame after the accept, with a rejection before it.
    pub(crate) fn end(&self, cause: Cause, code: CloseCode, reason: &str) {
        match self.life.get() {
            Life::Connecting => {
                let rejection = match cause {
                    Cause::Error => Rejection::internal(),
                    Cause::Shutdown => Rejection::shutting_down(self.retry_hint()),
                    Cause::Consumer | Cause::TooSlow if code == CloseCode::TRY_AGAIN => {
                        Rejection::busy("try again later", self.retry_hint())
                    }
                    _ => Rejection::forbidden(),
                };
                self.answer(RequestAnswer::Reject(rejection));
            }
            Life::Open => {
                if cause != Cause::TooSlow {
                    self.catch_up();
                    self.greet_early();
                    if self.life.get() != Life::Open {
                        // The outbox overflowed while it caught up, which ended the connection.
                        return;
                    }
                }
                self.life.set(Life::Closing);
                let frame = self.class.wire().encode_close(code, reason);
                let mut outbox = self.outbox.borrow_mut();
                if cause == Cause::TooSlow {
                    outbox.clear();
                }
                outbox.seal(Some(frame));
                drop(outbox);
                self.drop_early();
                self.note_closing();
                self.set_ending(cause, code, ByteString::from(reason));
                self.drop_input();
                self.wake_writer();
            }
            Life::Closing | Life::Finished => {}
        }
    }

    /// Notes that the client asked to close, or broke the protocol.
    ///
    /// Our close frame waits until the client's earlier messages were heard, unless a hook holds them up.
    pub(crate) fn client_ended(&self, cause: Cause, code: CloseCode, reason: ByteString) {
        self.catch_up();
        self.set_ending(cause, code, reason);
    }

    /// Answers the client's end with a close frame.
    ///
    /// The task calls it when no hook that can run now has to run first.
    pub(crate) fn answer_close(&self) {
        if self.life.get() != Life::Open {
            return;
        }
        let frame = match self.ending.get().map(|ending| &ending.how) {
            // The client gets its own code back, without the reason (RFC 6455, section 5.5.1).
            Some(Disconnect { cause: Cause::Client, code, .. }) => self.class.wire().encode_close(*code, ""),
            Some(Disconnect { cause: Cause::Protocol, code, reason }) => {
                self.class.wire().encode_close(*code, reason)
            }
            _ => return,
        };
        self.greet_early();
        self.life.set(Life::Closing);
        self.note_closing();
        self.outbox.borrow_mut().seal(Some(frame));
        // The server closes TCP first (RFC 6455, section 7.1.1).
        self.finish();
    }

    /// Notes that the socket ended without a close frame.
    pub(crate) fn gone(&self) {
        self.set_ending(Cause::Gone, CloseCode::ABNORMAL, ByteString::new());
        // A host that still waits for an answer learns that none will come.
        drop(self.answer.take());
        self.outbox.borrow_mut().seal(None);
        self.abandon();
    }

    /// Drops the socket, and what waits for it: nobody reads that any more.
    pub(super) fn abandon(&self) {
        self.outbox.borrow_mut().clear();
        self.drop_early();
        self.life.set(Life::Finished);
        self.wake_writer();
        self.cut();
        self.wake_task();
    }

    /// Drops what waits for the greeting, which does not come any more.
    fn drop_early(&self) {
        if let Some(places) = self.places.get() {
            places.drop_early();
        }
    }

    /// Ends this connection to free its outbox, because all outboxes together hold too much.
    pub(super) fn make_way(&self) {
        self.counters().over_budget.one();
        self.end(Cause::TooSlow, CloseCode::TRY_AGAIN, "the server holds too much");
        // A client that left before is still heard, but not with messages for which there is no room.
        self.drop_input();
        if self.outbox.borrow().bytes() > MOST_OF_A_CLOSE {
            // It was closing already. Its client does not read the rest, or not even a frame that was begun.
            self.abandon();
        }
    }

    /// Whether nothing is left to write. Until then the connection is watched, because it holds memory.
    pub(crate) fn is_written(&self) -> bool {
        self.outbox.borrow().is_empty()
    }

    /// Notes that the transport has ended. The socket is closed when everything is written.
    pub(crate) fn finish(&self) {
        if self.life.replace(Life::Finished) != Life::Finished {
            self.wake_writer();
            self.wake_task();
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.life.get() == Life::Finished
    }

    /// Whether our close frame is queued or sent.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.life.get(), Life::Closing | Life::Finished)
    }

    /// Leaves every group, and returns the mail of the inbox, which the caller drops.
    pub(crate) fn leave_all(&self) -> VecDeque<Mail> {
        self.hub.leave_all(self);
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.is_full();
        let mail = inbox.take();
        drop(inbox);
        if was_full {
            self.hub.note_full(false);
        }
        mail
    }
}
