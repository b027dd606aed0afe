//! What outlives a hook: senders, tasks and timers of one connection.

use std::{
    cell::RefCell,
    future::Future,
    rc::{Rc, Weak},
};

use tokio::task::{AbortHandle, JoinSet};

use super::connection::Connection;
use crate::{
    Event, IntoEnvelope, Outgoing, Result,
    close::{Cause, CloseCode},
    error::{Closed, MisuseError},
};

/// A sender for one connection, for tasks of the same worker. Cheap to clone; it does not keep the connection alive.
///
/// From other threads use [`Layer::send`](crate::Layer::send) with the consumer's
/// [`channel_name`](crate::ConnectionContext::channel_name).
#[derive(Debug, Clone)]
pub struct Handle(Weak<Connection>);

impl Handle {
    pub(crate) fn new(connection: &Rc<Connection>) -> Self {
        Self(Rc::downgrade(connection))
    }

    /// Queues a message for the client.
    ///
    /// # Errors
    /// [`Closed`] before the accept, and once the connection ends.
    pub fn send(&self, frame: impl Into<Outgoing>) -> Result<(), Closed> {
        self.0.upgrade().ok_or(Closed)?.send(&frame.into())
    }

    /// Queues an event as JSON in a text message, its `type` first.
    ///
    /// # Errors
    /// [`Closed`] before the accept and once the connection ends, and where the event cannot be written.
    pub fn send_event<E: Event>(&self, event: &E) -> Result<()> {
        Ok(self.send(Outgoing::event(event)?)?)
    }

    /// Hands an event to the consumer, in sequence with all others.
    ///
    /// False where its inbox is full or the connection has ended.
    pub fn notify(&self, event: impl IntoEnvelope) -> bool {
        self.0.upgrade().is_some_and(|connection| connection.push_event(event.into()))
    }

    /// Closes the connection with 1000; before the accept it is a rejection with 403.
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

/// A timer of [`Context::notify_later`](crate::ConnectionContext::notify_later) or `notify_every`. Dropped, it runs on.
#[derive(Debug)]
pub struct Timer(AbortHandle);

impl Timer {
    /// Stops the timer; an event that waits in the inbox already is still handled.
    pub fn cancel(&self) {
        self.0.abort();
    }
}

/// The tasks of one connection; dropped, it cancels them.
#[derive(Default)]
pub(crate) struct Tasks(RefCell<Option<Box<JoinSet<()>>>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static, limit: usize) -> Result<Timer> {
        let mut tasks = self.0.borrow_mut();
        let tasks = tasks.get_or_insert_default();
        while let Some(ended) = tasks.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("a task of a connection panicked");
            }
        }
        if tasks.len() >= limit {
            return Err(MisuseError::TooManyTasks(limit).into());
        }
        Ok(Timer(tasks.spawn_local(task)))
    }
}
