//! What the hooks of a WebSocket and of an HTTP exchange have in common.

use std::{fmt, future::Future, ops::Deref, rc::Rc, time::Duration};

use actix::Addr;

use super::{
    ConsumerActor, LayerContext,
    actor::ActorAddress,
    connection::{Connection, RequestAnswer},
    handle::{Handle, Tasks, Timer},
};
use crate::{
    ChannelName, GroupName, IntoEnvelope, Layer, Result, Scope,
    error::Closed,
    layers::Layers,
    middleware::Rejection,
    time::{FOREVER, from_now},
};

/// What a hook can do with its connection, whether that is a WebSocket or an HTTP exchange.
///
/// [`Context`](crate::Context) and [`HttpContext`](crate::HttpContext) deref to it. A function that takes a
/// `&ConnectionContext` can be called by the hooks of both. It derefs to [`LayerContext`], which sends to groups.
pub struct ConnectionContext {
    connection: Rc<Connection>,
    scope: Box<Scope>,
    layers: LayerContext,
    address: ActorAddress,
    tasks: Tasks,
}

impl ConnectionContext {
    pub(crate) fn new(connection: Rc<Connection>, scope: Box<Scope>, layers: Layers, layer: Layer) -> Self {
        let layers = LayerContext::new(layer, layers);
        Self { connection, scope, layers, address: ActorAddress::default(), tasks: Tasks::default() }
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Answers with a rejection. Returns false if the connection has an answer already.
    pub(super) fn refuse(&self, rejection: Rejection) -> bool {
        self.connection.answer(RequestAnswer::Reject(rejection.with_headers_of(&self.scope)))
    }

    /// What is known of the client's request: its path, its headers, and what middleware has added.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether the connection has ended or is closing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.has_ended()
    }

    /// Joins a group: every send to the group that starts after this call has returned arrives.
    ///
    /// Joining twice does nothing. The consumer leaves all its groups at its end.
    ///
    /// What a `#[relay]` makes of the group's events goes straight to the client. In an HTTP exchange it goes into the
    /// body as it is; before the headers were sent, it is dropped.
    ///
    /// # Errors
    /// [`LayerError::TooManyGroups`](crate::LayerError::TooManyGroups) at the limit of [`Limits::groups`](crate::Limits::groups),
    /// [`Closed`] after the connection has ended.
    pub async fn group_add(&self, group: &GroupName) -> Result<()> {
        if self.connection.has_ended() {
            return Err(Closed.into());
        }
        self.connection.hub().join(Rc::clone(&self.connection) as _, group)?;
        if let Some(known) = self.layer().backend().joined(group) {
            known.await;
        }
        Ok(())
    }

    /// Leaves a group: nothing that is sent to it after this call arrives.
    ///
    /// Leaving a group that was not joined does nothing.
    ///
    /// # Errors
    /// None: no layer of this crate can fail to leave a group.
    pub async fn group_discard(&self, group: &GroupName) -> Result<()> {
        self.connection.hub().leave(&*self.connection, group);
        Ok(())
    }

    /// The name of this consumer's channel. [`Layer::send`] to this name reaches the consumer.
    #[must_use]
    pub fn channel_name(&self) -> ChannelName {
        self.connection.channel_name()
    }

    /// The address of the actor that this consumer is.
    ///
    /// Any actor can [`Deliver`](crate::consumer::Deliver) events to it.
    #[must_use]
    pub fn address(&self) -> Addr<ConsumerActor> {
        self.address.of(&self.connection)
    }

    /// Runs a task beside the hooks, on this thread.
    ///
    /// The task is cancelled when `disconnect` has run.
    ///
    /// # Errors
    /// [`MisuseError::TooManyTasks`](crate::error::MisuseError::TooManyTasks) at the limit of
    /// [`Limits::tasks`](crate::Limits::tasks).
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Result<()> {
        self.start(task).map(|_| ())
    }

    /// Hands an event to this consumer after `delay`, in sequence with all other events.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn notify_later(&self, event: impl IntoEnvelope, delay: Duration) -> Result<Timer> {
        let (handle, event) = (Handle::new(&self.connection), event.into());
        self.start(async move {
            tokio::time::sleep(delay).await;
            handle.notify(event);
        })
    }

    /// Hands an event to this consumer every `period`, for the first time after one `period`.
    ///
    /// If the inbox is full, the event is dropped and counted.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn notify_every(&self, event: impl IntoEnvelope, period: Duration) -> Result<Timer> {
        assert!(!period.is_zero(), "the period of a timer must not be zero");
        let (handle, event) = (Handle::new(&self.connection), event.into());
        self.start(async move {
            let period = period.min(FOREVER);
            let mut ticks = tokio::time::interval_at(from_now(period), period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                handle.notify(&event);
            }
        })
    }

    fn start(&self, task: impl Future<Output = ()> + 'static) -> Result<Timer> {
        self.tasks.spawn(task, self.connection.limits.tasks)
    }
}

impl Deref for ConnectionContext {
    type Target = LayerContext;

    fn deref(&self) -> &LayerContext {
        &self.layers
    }
}

impl fmt::Debug for ConnectionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionContext").field("scope", &self.scope).finish_non_exhaustive()
    }
}
