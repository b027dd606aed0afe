//! Senders, tasks and timers of one connection, which go on after a hook.

use std::{
    cell::RefCell,
    future::Future,
    panic::AssertUnwindSafe,
    rc::{Rc, Weak},
};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use serde::Serialize;
use tokio::task::{AbortHandle, JoinSet};

use super::connection::{Connection, backpressure};
use crate::{
    Event, IntoEnvelope, Outgoing, Result,
    close::{Cause, CloseCode},
    error::{Closed, Error, MisuseError},
    guard::panicked,
};

/// A sender for one connection, for tasks of the same thread.
///
/// It is cheap to clone, and does not keep the connection alive. It sends as [`Context`](crate::Context) does.
///
/// A connection belongs to one thread, and so does its handle. It goes into tasks of [`Context::spawn`] and of
/// `actix_web::rt::spawn`; `tokio::spawn` and `std::thread::spawn` do not compile with it. From there use
/// [`Layer::send`](crate::Layer::send) with the consumer's [`channel_name`](crate::ConnectionContext::channel_name), or
/// [`Layer::send_blocking`](crate::Layer::send_blocking) on a thread without a runtime:
///
/// ```
/// use greenroom::prelude::*;
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Scanned { files: u64 }
///
/// struct Scanner;
///
/// impl Consumer for Scanner {
///     async fn receive(&mut self, _message: Message, ctx: &mut Context) -> Result<()> {
///         let (layer, me) = (ctx.layer().clone(), ctx.channel_name());
///         std::thread::spawn(move || layer.send_blocking(&me, Scanned { files: 1 }));
///         Ok(())
///     }
/// }
///
/// #[event_handlers]
/// impl Scanner {
///     async fn scanned(&mut self, event: &Scanned, ctx: &mut Context) -> Result<()> {
///         ctx.send_event(event)
///     }
/// }
/// ```
///
/// [`Context::spawn`]: crate::ConnectionContext::spawn
// The compiler shows the next line, with its comment, if a handle is sent to another thread.
#[derive(Debug, Clone)]
pub struct Handle(Weak<Connection>); // is for one thread: from others use Layer::send with the channel_name

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

    /// Waits until the client has read enough for more to be sent, as [`Context::ready`](crate::Context::ready) does.
    ///
    /// The wait ends with the connection, and does not keep it alive.
    ///
    /// # Errors
    /// [`Closed`] before the accept, and as soon as the connection ends.
    pub async fn ready(&self) -> Result<(), Closed> {
        backpressure::ready(Weak::clone(&self.0)).await
    }

    /// Queues a text message for the client.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: impl Into<ByteString>) -> Result<(), Closed> {
        self.send(Outgoing::text(text))
    }

    /// Queues a binary message for the client.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result<(), Closed> {
        self.send(Outgoing::binary(bytes))
    }

    /// Queues `value` as JSON in a text message.
    ///
    /// # Errors
    /// [`Closed`] as in [`send`](Self::send), and an error if `value` cannot be written as JSON.
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        Ok(self.send(Outgoing::json(value)?)?)
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

    /// Closes the connection with a code and a reason, as [`Context::close_with`](crate::Context::close_with) does.
    ///
    /// If the connection has ended, this does nothing.
    ///
    /// # Errors
    /// [`MisuseError::BadCloseCode`] for a code that may not be sent (RFC 6455, section 7.4).
    pub fn close_with(&self, code: impl Into<CloseCode>, reason: &str) -> Result<()> {
        let code = MisuseError::check_code(code.into())?;
        if let Some(connection) = self.0.upgrade() {
            connection.end(Cause::Consumer, code, reason);
        }
        Ok(())
    }

    /// Whether the connection has ended or is closing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.upgrade().is_none_or(|connection| connection.has_ended())
    }
}

/// A task or a timer of one connection, which [`Context::spawn`], [`notify_later`] or [`notify_every`] has started.
///
/// It can be sent to other threads, and kept in the consumer. If it is dropped, the task goes on. A task ends with its
/// connection in any case.
///
/// ```
/// use greenroom::{consumer::Task, prelude::*};
///
/// /// Counts until the client says stop.
/// #[derive(NoEvents)]
/// struct Counter(Option<Task>);
///
/// impl Consumer for Counter {
///     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
///         if let Some(task) = self.0.take() {
///             task.cancel();
///         }
///         if message.text()? != "stop" {
///             let client = ctx.handle();
///             self.0 = Some(ctx.spawn(async move {
///                 for number in 1.. {
///                     actix_web::rt::time::sleep(std::time::Duration::from_secs(1)).await;
///                     if client.send_json(&number).is_err() {
///                         break;
///                     }
///                 }
///             })?);
///         }
///         Ok(())
///     }
/// }
/// ```
///
/// [`Context::spawn`]: crate::ConnectionContext::spawn
/// [`notify_later`]: crate::ConnectionContext::notify_later
/// [`notify_every`]: crate::ConnectionContext::notify_every
#[derive(Debug, Clone)]
pub struct Task(AbortHandle);

impl Task {
    /// Stops the task, at the place where it next awaits something.
    ///
    /// For a timer: an event that already waits in the inbox is still handled. If the task has ended, this does nothing.
    pub fn cancel(&self) {
        self.0.abort();
    }

    /// Whether the task has ended: by itself, by a panic, or because it was cancelled.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// The tasks of one connection. They are cancelled when it is dropped.
#[derive(Default)]
pub(crate) struct Tasks(RefCell<Option<Box<JoinSet<()>>>>);

impl Tasks {
    /// Starts a task. If it panics, `log` logs that.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + 'static,
        limit: usize,
        log: impl FnOnce(Error) + 'static,
    ) -> Result<Task> {
        let mut tasks = self.0.borrow_mut();
        let tasks = tasks.get_or_insert_default();
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= limit {
            return Err(MisuseError::TooManyTasks(limit).into());
        }
        // It is logged at once: the connection may spawn no other task for days. An `async` block would hold the task
        // twice.
        Ok(Task(tasks.spawn_local(AssertUnwindSafe(task).catch_unwind().map(move |done| {
            if let Err(panic) = done {
                log(panicked(panic));
            }
        }))))
    }
}
