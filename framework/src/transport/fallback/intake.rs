//! The messages that a client has posted, on their way into its connection.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytestring::ByteString;

use crate::{
    Message,
    close::{Cause, CloseCode},
    consumer::connection::ClientReader,
    consumer::connection::Connection,
};

/// Holds the messages of one request. A session fills it, and the connection's task reads it.
///
/// The messages are read under the connection's read-ahead bound.
#[derive(Default)]
pub(crate) struct Intake {
    messages: RefCell<VecDeque<Message>>,
    end: Cell<Option<(Cause, CloseCode, ByteString)>>,
    session: Cell<Option<Waker>>,
    /// Whether the session waits until there is room.
    awaited: Cell<bool>,
}

impl Intake {
    /// Sets the waker of the session.
    ///
    /// It is woken when there is room, and when the connection ends.
    pub(super) fn set_session(&self, waker: &Waker) {
        let known = self.session.take().filter(|known| known.will_wake(waker));
        self.session.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    fn wake_session(&self) {
        if let Some(waker) = self.session.take() {
            waker.wake_by_ref();
            self.session.set(Some(waker));
        }
    }

    /// Whether the messages of another request fit in.
    pub(super) fn has_room(&self, connection: &Connection) -> bool {
        let room = self.messages.borrow().is_empty() && connection.wants_input();
        self.awaited.set(!room);
        room
    }

    pub(super) fn push(&self, messages: Vec<Message>) {
        self.messages.borrow_mut().extend(messages);
    }

    /// Ends the connection once all earlier messages have been read.
    pub(super) fn end(&self, cause: Cause, code: CloseCode, reason: ByteString) {
        self.end.set(Some((cause, code, reason)));
    }
}

/// The connection's side of an [`Intake`]: reads the posted messages.
///
/// It lives as long as the connection, and wakes the session when the connection ends.
pub(crate) struct PostedReader {
    intake: Rc<Intake>,
    /// Whether nothing more is to be read.
    ended: bool,
}

impl PostedReader {
    pub(crate) fn new(intake: &Rc<Intake>) -> Self {
        Self { intake: Rc::clone(intake), ended: false }
    }

    fn end(&mut self) -> Poll<()> {
        self.ended = true;
        self.intake.messages.borrow_mut().clear();
        Poll::Pending
    }
}

impl ClientReader for PostedReader {
    fn poll_read(&mut self, _: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()> {
        let intake = &self.intake;
        if connection.is_closing() {
            intake.wake_session();
        }
        while !self.ended {
            if intake.messages.borrow().is_empty() {
                // This comes before the check of `wants_input`, so that a client that leaves is noticed at
                // once, even if the consumer takes no more messages.
                if let Some((cause, code, reason)) = intake.end.take() {
                    connection.client_ended(cause, code, reason);
                    return self.end();
                }
            }
            if !connection.wants_input() {
                connection.note_stopped();
                break;
            }
            connection.note_reading();
            let message = intake.messages.borrow_mut().pop_front();
            let Some(message) = message else {
                if intake.awaited.replace(false) {
                    intake.wake_session();
                }
                // The session wakes this task when it fills the intake.
                break;
            };
            if !connection.may_send_one() {
                connection.refuse_flood();
                return self.end();
            }
            connection.push_input(message);
        }
        Poll::Pending
    }

    fn held(&self) -> usize {
        0
    }
}

impl Drop for PostedReader {
    fn drop(&mut self) {
        self.intake.wake_session();
    }
}
