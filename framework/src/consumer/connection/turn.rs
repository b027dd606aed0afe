//! Decides what a connection's task does next: one thing at a time, and fairly.

use std::task::{Context, Poll};

use super::{Connection, Next};
use crate::{close::Cause, groups::inbox::Mail};

/// How many messages of the client may go before a waiting event.
///
/// Rule 7 (the client's messages first) is mended by this, so that it is fair.
const MESSAGES_IN_A_ROW: u32 = 8;
/// How many hooks of one connection run before the thread's other connections get their turn.
const HOOKS_A_TURN: u32 = 32;

impl Connection {
    /// Begins a turn of the task.
    pub(crate) fn begin_turn(&self, cx: &Context<'_>) {
        self.ran.set(self.hub.pass());
        self.turn.set((0, self.turn.get().1));
        let known = self.task.take();
        let same = known.filter(|waker| waker.will_wake(cx.waker()));
        self.task.set(Some(same.unwrap_or_else(|| cx.waker().clone())));
    }

    pub(crate) fn wake_task(&self) {
        // To wake the task only queues it. Nothing runs inside this call.
        if let Some(waker) = self.task.take() {
            waker.wake_by_ref();
            self.task.set(Some(waker));
        }
    }

    /// Notes whether a hook runs. Only if none runs, relayed frames bypass the inbox.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Whether the task may take the client's next message. A client that does not read has to wait.
    fn may_take_input(&self) -> bool {
        self.outbox.borrow().bytes() <= self.limits.read_ahead || self.has_ended()
    }

    /// Returns what to do next. The client's messages go first (rule 7), but fairly.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
        let (hooks, in_a_row) = self.turn.get();
        let cause = self.ending.get().map(|ending| ending.how.cause);
        if let Some(cause) = cause {
            // What a client sent before it left is still heard. With any other cause the connection ends at once.
            let heard = matches!(cause, Cause::Client | Cause::Gone | Cause::Protocol);
            if !heard || self.input.borrow().is_empty() {
                return Poll::Ready(Next::End);
            }
        }
        if let Some(places) = self.places.get()
            && cause.is_none()
            && places.is_due()
        {
            return Poll::Ready(Next::Introduce);
        }
        let (has_mail, pressed) = {
            let inbox = self.inbox.borrow();
            // After the end, events have no client to reach. Only the client's own messages are still heard.
            (cause.is_none() && !inbox.is_empty(), inbox.is_pressed())
        };
        let has_input = !self.input.borrow().is_empty() && self.may_take_input();
        if !has_mail && !has_input {
            return Poll::Pending;
        }
        if hooks >= HOOKS_A_TURN {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if has_input && (!has_mail || (in_a_row < MESSAGES_IN_A_ROW && !pressed)) {
            self.turn.set((hooks + 1, in_a_row + 1));
            if let Some(message) = self.pop_input() {
                return Poll::Ready(Next::Message(message));
            }
        }
        self.turn.set((hooks + 1, 0));
        match self.pop_mail() {
            Some(mail) => Poll::Ready(Next::Mail(mail)),
            None => Poll::Pending,
        }
    }

    fn pop_mail(&self) -> Option<Mail> {
        let mut inbox = self.inbox.borrow_mut();
        let was_full = inbox.is_full();
        let mail = inbox.pop();
        let has_room = was_full && !inbox.is_full();
        drop(inbox);
        if has_room {
            self.hub.note_full(false);
            self.hub.note_room(self.key);
        }
        mail
    }
}
