//! A hook's view of its connection.

use std::{ops::Deref, rc::Rc};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

use super::{
    ConnectionContext,
    connection::{Accepted, RequestAnswer, backpressure},
    handle::Handle,
};
use crate::{
    Event, Outgoing, Result,
    close::{Cause, CloseCode},
    error::MisuseError,
    middleware::Rejection,
    scope::answer_header,
    wire::Transport,
};

/// What a hook can do with its connection.
///
/// Each hook borrows it, so a consumer cannot keep it; [`handle`](Self::handle) gives a sender that tasks can keep.
/// Every method takes `&self`, so that `join!` of two sends works, and so do functions that take a `&Context`.
///
/// It derefs to [`ConnectionContext`], which has the groups, tasks and timers, and that to
/// [`LayerContext`](crate::LayerContext), which has the sends to groups.
///
/// The [guide](crate::docs::guide#context) has an example.
pub struct Context(ConnectionContext);

/// How a connection is accepted, for [`Context::accept_with`].
///
/// The [guide](crate::docs::guide#context) has an example.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Accept {
    subprotocol: Option<String>,
    headers: Vec<Result<(HeaderName, HeaderValue), MisuseError>>,
}

impl Accept {
    /// Accepts without a subprotocol, and without more headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses one of the subprotocols that the client offered.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header to the response. If it is invalid, [`Context::accept_with`] says so.
    pub fn header(
        mut self,
        name: impl TryInto<HeaderName> + AsRef<str>,
        value: impl TryInto<HeaderValue>,
    ) -> Self {
        self.headers.push(answer_header(name, value));
        self
    }
}

impl Context {
    pub(crate) fn new(inner: ConnectionContext) -> Self {
        Self(inner)
    }

    /// Accepts the connection, without a subprotocol.
    ///
    /// # Errors
    /// [`MisuseError::AlreadyAnswered`] if the connection has been accepted or rejected already.
    pub fn accept(&self) -> Result<()> {
        self.accept_with(Accept::new())
    }

    /// Accepts the connection with a subprotocol or headers.
    ///
    /// # Errors
    /// [`MisuseError::NotOffered`] for a subprotocol that the client did not offer, [`MisuseError::BadHeader`] for an
    /// invalid header, [`MisuseError::AlreadyAnswered`] if the connection has been accepted or rejected already.
    pub fn accept_with(&self, accept: Accept) -> Result<()> {
        if let Some(name) = &accept.subprotocol
            && !self.scope().subprotocols().any(|offered| offered == name)
        {
            return Err(MisuseError::NotOffered(name.clone()).into());
        }
        if !self.connection().is_connecting() {
            return Err(MisuseError::AlreadyAnswered.into());
        }
        for header in accept.headers {
            let (name, value) = header?;
            self.scope().add_response_header(name, value)?;
        }
        let headers = self.scope().take_response_headers();
        let accepted = RequestAnswer::Accept(Accepted { subprotocol: accept.subprotocol, headers });
        if self.connection().answer(accepted) { Ok(()) } else { Err(MisuseError::AlreadyAnswered.into()) }
    }

    /// Rejects the connection with a status, headers and a body.
    ///
    /// This is possible before the accept only.
    ///
    /// # Errors
    /// [`MisuseError::AlreadyAnswered`] after the accept or a rejection.
    pub fn reject(&self, rejection: Rejection) -> Result<()> {
        if self.refuse(rejection) { Ok(()) } else { Err(MisuseError::AlreadyAnswered.into()) }
    }

    /// Queues a message for the client.
    ///
    /// # Errors
    /// [`MisuseError::NotAccepted`] before the accept, [`Closed`](crate::error::Closed) after the connection has
    /// ended (rule 14: sending after a close is an error).
    pub fn send(&self, message: impl Into<Outgoing>) -> Result<()> {
        if self.connection().is_connecting() {
            return Err(MisuseError::NotAccepted.into());
        }
        Ok(self.connection().send_from_hook(&message.into())?)
    }

    /// Waits until the client has read enough for more to be sent.
    ///
    /// `send` never waits: it ends the connection with 1013, or drops a message, if [`Limits::outbox_size`] is full. So
    /// whoever sends much, such as a file, waits here before each part:
    ///
    /// ```
    /// # use greenroom::{Context, Result};
    /// async fn stream(parts: Vec<Vec<u8>>, ctx: &Context) -> Result<()> {
    ///     for part in parts {
    ///         ctx.ready().await?;
    ///         ctx.send_bytes(part)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// After the call, at most [`Limits::read_ahead`] (64 KiB) wait in the outbox, and at most half of `outbox_size`. So
    /// a part of up to half of `outbox_size` fits. If all outboxes of the mount hold more than half of
    /// [`Mount::outbox_budget`], the call waits until nothing waits for this client. It returns at once if nothing waits.
    ///
    /// While a hook waits, no other hook of its connection runs: events wait in the inbox, and a full inbox drops them.
    /// The client's next messages wait too. For a stream that takes long, [`spawn`](ConnectionContext::spawn) a task with
    /// a [`Handle`], which has [`ready`](Handle::ready) too. A client that reads nothing ends the wait after
    /// [`Limits::write_timeout`] (30 s). An [HTTP consumer](crate::HttpConsumer) needs no such call, because
    /// [`send_body`](crate::HttpContext::send_body) waits.
    ///
    /// [`Limits::outbox_size`]: crate::Limits::outbox_size
    /// [`Limits::read_ahead`]: crate::Limits::read_ahead
    /// [`Limits::write_timeout`]: crate::Limits::write_timeout
    /// [`Mount::outbox_budget`]: crate::Mount::outbox_budget
    ///
    /// # Errors
    /// [`MisuseError::NotAccepted`] before the accept, [`Closed`](crate::error::Closed) as soon as the connection ends,
    /// also by a shutdown.
    pub async fn ready(&self) -> Result<()> {
        if self.connection().is_connecting() {
            return Err(MisuseError::NotAccepted.into());
        }
        Ok(backpressure::ready(Rc::downgrade(self.connection())).await?)
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
    /// As [`send`](Self::send), and if `value` cannot be written as JSON.
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

    /// Closes the connection with 1000. After that, only the hook `disconnect` runs.
    ///
    /// Before the accept, this rejects the connection with 403 (rule 11). A second close does nothing (rule 14).
    pub fn close(&self) {
        self.connection().end(Cause::Consumer, CloseCode::NORMAL, "");
    }

    /// Closes the connection with a code and a reason.
    ///
    /// The reason is cut to the 123 bytes that a close frame holds. Before the accept, this rejects the connection:
    /// with 503 for the code 1013, with 403 for every other code.
    ///
    /// # Errors
    /// [`MisuseError::BadCloseCode`] for a code that may not be sent (RFC 6455, section 7.4).
    pub fn close_with(&self, code: impl Into<CloseCode>, reason: &str) -> Result<()> {
        self.connection().end(Cause::Consumer, MisuseError::check_code(code.into())?, reason);
        Ok(())
    }

    /// How the client is reached: by a WebSocket, or by the fallback transport of its last request.
    ///
    /// A client may change its transport. In `connect`, a client of a fallback transport has not chosen one yet; this
    /// then returns [`LongPolling`](Transport::LongPolling).
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.connection().transport()
    }

    /// A sender for this connection that tasks can keep.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.connection())
    }
}

impl Deref for Context {
    type Target = ConnectionContext;

    fn deref(&self) -> &ConnectionContext {
        &self.0
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("scope", self.scope()).finish_non_exhaustive()
    }
}
