//! Senders, tasks and timers of one connection, which go on after a hook.

use std::{
    cell::RefCell,
    future::Future,
    panic::AssertUnwindSafe,
    rc::{Rc, Weak},
};

use futures_util::FutureExt as _;
use tokio::task::{AbortHandle, JoinSet};

use super::{connection::Connection, guard::panicked};
use crate::{
    Event, IntoEnvelope, Outgoing, Result,
    close::{Cause, CloseCode},
    error::{Closed, MisuseError},
};

/// A sender for one connection, for tasks of the same thread.
///
/// It is cheap to clone, and does not keep the connection alive. From other threads use
/// [`Layer::send`](crate::Layer::send) with the consumer's [`channel_name`](crate::ConnectionContext::channel_name).
#[derive(Debug, Clone)]
pub struct Handle(Weak<Connection>);

impl Handle {
    pub(crate) fn new(connection: &Rc<Connection>) -> Self {
        Self(Rc::downgrade(connection))
    }

    /// Queues a message for the client.
    ///
    /// # Errors
    /// [`Closed`] before the accept, and after the connection has ended.
    pub fn send(&self, message: impl Into<Outgoing>) -> Result<(), Closed> {
        self.0.upgrade().ok_or(Closed)?.send(&message.into())
    }

    /// Queues an event as JSON in a text message, with its `type` first.
    ///
    /// # Errors
    /// [`Closed`] as in [`send`](Self::send), and an error if the event cannot be written as JSON.
    pub fn send_event<E: Event>(&self, event: &E) -> Result<()> {
        Ok(self.send(Outgoing::event(event)?)?)
    }

    /// Hands an event to the consumer, in sequence with all other events.
    ///
    /// Returns false if the consumer's inbox is full or the connection has ended.
    pub fn notify(&self, event: impl IntoEnvelope) -> bool {
        self.0.upgrade().is_some_and(|connection| connection.push_event(event.into()))
    }

    /// Closes the connection with 1000. Before the accept, this rejects the connection with 403.
    pub fn close(&self) {
        if let Some(connection) = self.0.upgrade() {
            connection.end(Cause::Consumer, CloseCode::NORMAL, "");
        }
    }

    /// Whether the connection has ended or is closing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.upgrade().is_none_or(|connection| connection.has_ended())
    }
}

/// A timer that was started by [`Context::notify_later`](crate::ConnectionContext::notify_later) or
/// [`notify_every`](crate::ConnectionContext::notify_every).
///
/// If it is dropped, the timer goes on.
#[derive(Debug)]
pub struct Timer(AbortHandle);

impl Timer {
    /// Stops the timer. An event that already waits in the inbox is still handled.
    pub fn cancel(&self) {
        self.0.abort();
    }
}

/// The tasks of one connection. They are cancelled when it is dropped.
#[derive(Default)]
pub(crate) struct Tasks(RefCell<Option<Box<JoinSet<()>>>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static, limit: usize) -> Result<Timer> {
        let mut tasks = self.0.borrow_mut();
        let tasks = tasks.get_or_insert_default();
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= limit {
            return Err(MisuseError::TooManyTasks(limit).into());
        }
        // It is logged at once: the connection may spawn no other task for days. An `async` block would hold the task
        // twice.
        Ok(Timer(tasks.spawn_local(AssertUnwindSafe(task).catch_unwind().map(|done| {
            if let Err(panic) = done {
                tracing::error!(error = %panicked(panic), "a task of a connection panicked");
            }
        }))))
    }
}
