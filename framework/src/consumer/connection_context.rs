//! What the hooks of a WebSocket and of an HTTP exchange have in common.

use std::{fmt, future::Future, ops::Deref, rc::Rc, sync::Arc, time::Duration};

use actix::Addr;

use super::{
    ConsumerActor, LayerContext,
    actor::ActorAddress,
    connection::{Connection, RequestAnswer},
    handle::{Handle, Task, Tasks},
};
use crate::{
    ChannelName, Delivery, GroupName, IntoEnvelope, Layer, Result, Scope,
    error::{Closed, MisuseError},
    groups::history::log::Log,
    history::{Outcome, Since},
    layers::Layers,
    middleware::Rejection,
    shown::Shown,
    time::{FOREVER, from_now},
};

/// What a hook can do with its connection, whether that is a WebSocket or an HTTP exchange.
///
/// [`Context`](crate::Context) and [`HttpContext`](crate::HttpContext) deref to it. A function that takes a
/// `&ConnectionContext` can be called by the hooks of both. It derefs to [`LayerContext`], which sends to groups.
///
/// The [guide](crate::docs::guide#groups) has an example.
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
    pub(super) fn refuse(&self, mut rejection: Rejection) -> bool {
        rejection.log_failure(&self.scope, None);
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
    /// Joining twice does nothing. The consumer leaves all its groups at its end. A call that is given up, as by a timeout,
    /// may be made again.
    ///
    /// What a `#[relay]` makes of the group's events goes straight to the client. In an HTTP exchange it goes into the
    /// body as it is; before the headers were sent, it is dropped.
    ///
    /// # Errors
    /// [`LayerError::TooManyGroups`](crate::LayerError::TooManyGroups) at the limit of [`Limits::groups`](crate::Limits::groups),
    /// [`Closed`] after the connection has ended.
    pub async fn group_add(&self, group: &GroupName) -> Result<()> {
        self.join(group, Since::Now).await.map(drop)
    }

    /// Joins a group that keeps its events, and gets those since an earlier place first: none missing, each once.
    ///
    /// For a late joiner who shall see the last events, and for a page that knows the place up to which it has them. A
    /// place that the client itself names when it comes back goes before `since`. Returns whether all events since the
    /// place are there: [`Since::Now`] is always [`Outcome::Recovered`]. [`Since::Last`] is [`Outcome::Lost`] only if the
    /// layer's server cannot be read: the consumer gets those that this process knows, and all that follow. In a group
    /// that the consumer is in already, it does nothing.
    ///
    /// # Errors
    /// As [`group_add`](Self::group_add), and [`MisuseError::NoHistory`] if the group keeps no events.
    ///
    /// ```
    /// use greenroom::{history::Since, prelude::*};
    ///
    /// #[derive(NoEvents)]
    /// struct Chat { room: GroupName }
    ///
    /// impl Consumer for Chat {
    ///     async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
    ///         ctx.accept()?;
    ///         ctx.group_add_since(&self.room, Since::Last(50)).await?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub async fn group_add_since(&self, group: &GroupName, since: Since) -> Result<Outcome> {
        let directory = self.connection.hub().directory();
        if directory.logs.policy(&directory.config, group).is_none() {
            return Err(MisuseError::NoHistory(group.to_string()).into());
        }
        self.join(group, since).await
    }

    /// Makes the consumer a member. If it is new in a group with a log, it begins there as `since` says.
    async fn join(&self, group: &GroupName, since: Since) -> Result<Outcome> {
        if self.connection.has_ended() {
            return Err(Closed.into());
        }
        let held = since != Since::Now;
        let log = self.connection.hub().join_held(Rc::clone(&self.connection) as _, group, held)?;
        let joining = log.map(|log| Joining { connection: &self.connection, log, is_done: false });
        if let Some(known) = self.layer().backend().joined(group) {
            known.await;
        }
        let Some(mut joining) = joining else { return Ok(Outcome::Recovered) };
        let outcome = Box::pin(self.connection.begin(&joining.log, since)).await;
        joining.is_done = true;
        Ok(outcome)
    }

    /// Leaves a group: nothing that is sent to it after this call arrives.
    ///
    /// Leaving a group that was not joined does nothing.
    ///
    /// # Errors
    /// None: no layer of this crate can fail to leave a group.
    pub async fn group_discard(&self, group: &GroupName) -> Result<()> {
        self.connection.hub().leave(&*self.connection, group);
        self.connection.tell_left(group);
        Ok(())
    }

    /// Sends an event to every member of a group but this consumer.
    ///
    /// For what the client of this consumer knows already: its own message, that it types, where its cursor is. What a
    /// `#[relay]` makes of the event goes to the clients of the other members, and is still encoded once. In all else
    /// this is [`group_send`](LayerContext::group_send), its order included. This consumer need not be a member.
    /// [`Layer::group_send_except`] leaves out any channels.
    ///
    /// # Errors
    /// As [`Layer::group_send_except`].
    ///
    /// ```
    /// use greenroom::prelude::*;
    ///
    /// #[derive(Clone, Serialize, Deserialize, Event)]
    /// struct Typing { user: String }
    ///
    /// struct Chat { room: GroupName, user: String }
    ///
    /// impl Consumer for Chat {
    ///     fn groups(&self) -> Vec<GroupName> { vec![self.room.clone()] }
    ///
    ///     async fn receive(&mut self, _: Message, ctx: &mut Context) -> Result<()> {
    ///         ctx.group_send_others(&self.room, Typing { user: self.user.clone() }).await
    ///     }
    /// }
    ///
    /// #[event_handlers]
    /// impl Chat {
    ///     #[relay]
    ///     fn typing(event: &Typing) -> Result<Outgoing> { Outgoing::event(event) }
    /// }
    /// ```
    pub async fn group_send_others(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<()> {
        Ok(self.layer().group_send_except(group, self.channel_name(), event.into()).await?)
    }

    /// As [`group_send_others`](Self::group_send_others), and counts how many members got the event.
    ///
    /// # Errors
    /// As [`Layer::group_send_except`].
    pub async fn group_send_others_counted(
        &self,
        group: &GroupName,
        event: impl IntoEnvelope,
    ) -> Result<Delivery> {
        Ok(self.layer().group_send_except_counted(group, self.channel_name(), event.into()).await?)
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
    /// The task is cancelled when `disconnect` has run, or by [`Task::cancel`]. If it panics, that is logged, and the
    /// connection goes on.
    ///
    /// # Errors
    /// [`MisuseError::TooManyTasks`](crate::error::MisuseError::TooManyTasks) at the limit of
    /// [`Limits::tasks`](crate::Limits::tasks).
    pub fn spawn<T: Future<Output = ()> + 'static>(&self, task: T) -> Result<Task> {
        let path = self.scope.path().to_owned();
        let log = move |error| {
            // The name of a future's type has that of the hook that started it.
            let task = std::any::type_name::<T>();
            tracing::error!(path = ?Shown(path), task, error = %Shown(error), "a task of a connection panicked");
        };
        self.tasks.spawn(task, self.connection.limits.tasks, log)
    }

    /// Hands an event to this consumer after `delay`, in sequence with all other events.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn notify_later(&self, event: impl IntoEnvelope, delay: Duration) -> Result<Task> {
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
    pub fn notify_every(&self, event: impl IntoEnvelope, period: Duration) -> Result<Task> {
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

    fn start(&self, task: impl Future<Output = ()> + 'static) -> Result<Task> {
        let log = |error| tracing::error!(error = %Shown(error), "a timer of a connection panicked");
        self.tasks.spawn(task, self.connection.limits.tasks, log)
    }
}

/// A new member of a group with a log, before it is decided where it begins.
///
/// If the decision is given up, the consumer leaves the group. Otherwise it would wait there for ever, and a second call
/// would take it for a member.
struct Joining<'a> {
    connection: &'a Rc<Connection>,
    log: Arc<Log>,
    is_done: bool,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.connection.hub().leave(&**self.connection, &self.log.group);
        }
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
