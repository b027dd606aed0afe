//! A hook's view of its connection.

use std::{future::Future, rc::Rc, time::Duration};

use actix::Addr;
use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

use super::{
    ConsumerActor,
    actor::Address,
    connection::{Accepted, Answer, Connection},
    handle::{Handle, Tasks, Timer},
};
use crate::{
    ChannelName, Delivery, Event, GroupName, IntoEnvelope, Layer, Outgoing, Result, Scope,
    close::{Cause, CloseCode},
    error::{Closed, MisuseError},
    layers::Layers,
    middleware::Rejection,
    wire::Transport,
};

/// What a hook can do with its connection.
///
/// It is lent to each hook and cannot be kept; [`handle`](Self::handle) gives something that can. Every
/// method takes `&self`, so that `join!` of two sends and helpers with `&Context` work.
pub struct Context {
    connection: Rc<Connection>,
    scope: Box<Scope>,
    layers: Layers,
    layer: Layer,
    address: Address,
    tasks: Tasks,
}

/// How a connection is accepted: [`Context::accept_with`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Accept {
    subprotocol: Option<String>,
    headers: Vec<(String, String)>,
}

impl Accept {
    /// Without a subprotocol or headers of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses one of the subprotocols that the client offered.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header to the response.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Context {
    pub(crate) fn new(connection: Rc<Connection>, scope: Box<Scope>, layers: Layers, layer: Layer) -> Self {
        Self { connection, scope, layers, layer, address: Address::default(), tasks: Tasks::default() }
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Accepts the connection, without a subprotocol.
    ///
    /// # Errors
    /// [`MisuseError::AlreadyAnswered`] the second time.
    pub fn accept(&self) -> Result<()> {
        self.accept_with(Accept::new())
    }

    /// Accepts the connection with a subprotocol or headers.
    ///
    /// # Errors
    /// [`MisuseError::NotOffered`] for a subprotocol that the client did not offer,
    /// [`MisuseError::BadHeader`], [`MisuseError::AlreadyAnswered`] the second time.
    pub fn accept_with(&self, accept: Accept) -> Result<()> {
        if let Some(name) = &accept.subprotocol
            && !self.scope.subprotocols().any(|offered| offered == name)
        {
            return Err(MisuseError::NotOffered(name.clone()).into());
        }
        if !self.connection.is_connecting() {
            return Err(MisuseError::AlreadyAnswered.into());
        }
        for (name, value) in &accept.headers {
            self.scope.add_response_header(name, value)?;
        }
        let headers = self.scope.take_response_headers();
        self.answer(Answer::Accept(Accepted { subprotocol: accept.subprotocol, headers }))
    }

    /// Rejects the connection with a status, headers and a body. Before the accept only.
    ///
    /// # Errors
    /// [`MisuseError::AlreadyAnswered`] after the accept or a rejection.
    pub fn reject(&self, rejection: Rejection) -> Result<()> {
        self.answer(Answer::Reject(rejection.with_headers_of(&self.scope)))
    }

    fn answer(&self, answer: Answer) -> Result<()> {
        if self.connection.answer(answer) { Ok(()) } else { Err(MisuseError::AlreadyAnswered.into()) }
    }

    /// Queues a message for the client.
    ///
    /// # Errors
    /// [`MisuseError::NotAccepted`] before the accept, [`Closed`] once the connection ends (rule 14).
    pub fn send(&self, frame: impl Into<Outgoing>) -> Result<()> {
        if self.connection.is_connecting() {
            return Err(MisuseError::NotAccepted.into());
        }
        Ok(self.connection.send(&frame.into())?)
    }

    /// Queues a text message for the client.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: impl Into<ByteString>) -> Result<()> {
        self.send(Outgoing::text(text))
    }

    /// Queues a binary message for the client.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_bytes(&self, bytes: impl Into<Bytes>) -> Result<()> {
        self.send(Outgoing::binary(bytes))
    }

    /// Queues `value` as JSON in a text message.
    ///
    /// # Errors
    /// As [`send`](Self::send), and where `value` cannot be written as JSON.
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send(Outgoing::json(value)?)
    }

    /// Queues an event as JSON in a text message: `{"type":"chat.message",…}`.
    ///
    /// # Errors
    /// As [`send_json`](Self::send_json).
    pub fn send_event<E: Event>(&self, event: &E) -> Result<()> {
        self.send(Outgoing::event(event)?)
    }

    /// Closes the connection with 1000. No further hook but `disconnect` runs.
    ///
    /// Before the accept it is a rejection with 403 (rule 11); a second close does nothing (rule 14).
    pub fn close(&self) {
        self.connection.end(Cause::Consumer, CloseCode::NORMAL, "");
    }

    /// Closes the connection with a code and a reason.
    ///
    /// The reason is cut to the 123 bytes that a close frame holds. Before the accept it is a rejection: 503 for 1013,
    /// 403 for every other code.
    ///
    /// # Errors
    /// [`MisuseError::BadCloseCode`] for a code that may not be sent (RFC 6455, section 7.4).
    pub fn close_with(&self, code: impl Into<CloseCode>, reason: &str) -> Result<()> {
        let code = code.into();
        if !code.can_be_sent() {
            return Err(MisuseError::BadCloseCode(code.into()).into());
        }
        self.connection.end(Cause::Consumer, code, reason);
        Ok(())
    }

    /// Whether the connection has ended or is closing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.has_ended()
    }

    /// Joins a group: every send to it that starts after this has returned arrives.
    ///
    /// Joining twice does nothing. Leaving is automatic at the end.
    ///
    /// # Errors
    /// [`LayerError::TooManyGroups`](crate::LayerError::TooManyGroups) at the limit of [`Limits::groups`](crate::Limits::groups),
    /// [`Closed`] once the connection has ended.
    pub async fn group_add(&self, group: &GroupName) -> Result<()> {
        if self.connection.has_ended() {
            return Err(Closed.into());
        }
        self.connection.hub().join(Rc::clone(&self.connection) as _, group)?;
        if let Some(known) = self.layer.backend().joined(group) {
            known.await;
        }
        Ok(())
    }

    /// Leaves a group: nothing that is sent to it after this arrives. Leaving a group that was not joined does nothing.
    ///
    /// # Errors
    /// None with the memory layer; a layer on a server may lose it.
    pub async fn group_discard(&self, group: &GroupName) -> Result<()> {
        self.connection.hub().leave(&*self.connection, group);
        Ok(())
    }

    /// Sends an event to every member of a group, this one included.
    ///
    /// A member that is full misses it (rule 23): see [`group_send_counted`](Self::group_send_counted).
    ///
    /// # Errors
    /// Where the layer did not take the event.
    pub async fn group_send(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<()> {
        Ok(self.layer.group_send(group, event.into()).await?)
    }

    /// As [`group_send`](Self::group_send), and says how far the event got.
    ///
    /// # Errors
    /// Where the layer did not take the event.
    pub async fn group_send_counted(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<Delivery> {
        Ok(self.layer.group_send_counted(group, event.into()).await?)
    }

    /// The name that [`Layer::send`] reaches this consumer by.
    #[must_use]
    pub fn channel_name(&self) -> ChannelName {
        self.connection.channel_name()
    }

    /// The layer of this consumer: the one under its [`LAYER`](crate::Consumer::LAYER) alias.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The layer under another alias.
    ///
    /// # Errors
    /// [`MisuseError::NoLayer`] where none is configured under it.
    pub fn layer_as(&self, alias: &str) -> Result<&Layer> {
        self.layers.get(alias).ok_or_else(|| MisuseError::NoLayer(alias.to_owned()).into())
    }

    /// How the client is reached: by a WebSocket, or by the fallback transport of its last request.
    ///
    /// A client may change from one of these to another. In `connect` it has asked for nothing yet, and counts as
    /// [`LongPolling`](Transport::LongPolling).
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.connection.transport()
    }

    /// What is known of the connection.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The address of the actor that this consumer is.
    ///
    /// Any actor can [`Deliver`](crate::consumer::Deliver) events to it.
    #[must_use]
    pub fn address(&self) -> Addr<ConsumerActor> {
        self.address.of(&self.connection)
    }

    /// A sender for this connection that tasks can keep.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.connection)
    }

    /// Runs a task beside the hooks, on this worker.
    ///
    /// It is cancelled once `disconnect` has run.
    ///
    /// # Errors
    /// [`MisuseError::TooManyTasks`] at the limit of [`Limits::tasks`](crate::Limits::tasks).
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Result<()> {
        self.tasks.spawn(task, self.connection.limits.tasks).map(|_| ())
    }

    /// Runs blocking work on a thread of a pool, and waits for it.
    ///
    /// The worker serves other connections meanwhile. Cancelling the hook does not stop work that has begun.
    ///
    /// # Errors
    /// Where the work panicked, or the runtime ended.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    /// Hands an event to this consumer after `delay`, in sequence with all others.
    ///
    /// # Errors
    /// [`MisuseError::TooManyTasks`] at the limit of [`Limits::tasks`](crate::Limits::tasks).
    pub fn notify_later(&self, event: impl IntoEnvelope, delay: Duration) -> Result<Timer> {
        let (handle, event) = (self.handle(), event.into());
        let task = async move {
            tokio::time::sleep(delay).await;
            handle.notify(event);
        };
        self.tasks.spawn(task, self.connection.limits.tasks)
    }

    /// Hands an event to this consumer every `period`, first after one.
    ///
    /// A tick that finds the inbox full is lost, and counted.
    ///
    /// # Errors
    /// [`MisuseError::TooManyTasks`] at the limit of [`Limits::tasks`](crate::Limits::tasks).
    ///
    /// # Panics
    /// Where `period` is zero.
    pub fn notify_every(&self, event: impl IntoEnvelope, period: Duration) -> Result<Timer> {
        assert!(!period.is_zero(), "the period of a timer must not be zero");
        let (handle, event) = (self.handle(), event.into());
        let task = async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                handle.notify(&event);
            }
        };
        self.tasks.spawn(task, self.connection.limits.tasks)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("scope", &self.scope).finish_non_exhaustive()
    }
}
