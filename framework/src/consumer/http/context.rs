//! A hook's view of its exchange.

use std::{ops::Deref, rc::Rc, time::SystemTime};

use actix_web::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;

use super::{event_id, exchange::Exchange, handle::HttpHandle};
use crate::{
    GroupName, Outgoing, Result,
    consumer::{ClientContext, ConnectionContext},
    groups::fan_out::Relayed,
    history::Since,
};

/// What a hook can do with its exchange.
///
/// Each hook borrows it, so a consumer cannot keep it; [`handle`](Self::handle) gives a sender that tasks can keep.
///
/// It derefs to [`ConnectionContext`], which has the groups, tasks and timers, and that to
/// [`LayerContext`](crate::LayerContext), which has the sends to groups.
///
/// The [guide](crate::docs::guide#http-consumers) has an example.
#[derive(Debug)]
pub struct HttpContext {
    inner: ConnectionContext,
    exchange: Rc<Exchange>,
}

impl HttpContext {
    pub(crate) fn new(inner: ConnectionContext, exchange: Rc<Exchange>) -> Self {
        Self { inner, exchange }
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Sends the status and the headers, with those that were added to the [scope](ConnectionContext::scope).
    ///
    /// The status is a number or a [`StatusCode`]. The client gets all at once, before any body. Names may repeat, except
    /// `content-type`: the last one is sent. Without a `content-length` the body is sent in
    /// chunks. With one, bytes beyond it are cut off, and if fewer bytes are sent, the connection is cut.
    ///
    /// # Errors
    /// [`MisuseError::AlreadyAnswered`](crate::error::MisuseError::AlreadyAnswered) if the headers have been sent
    /// already, [`MisuseError::BadResponseStatus`](crate::error::MisuseError::BadResponseStatus) for a status outside
    /// 200 to 599, [`MisuseError::BadHeader`](crate::error::MisuseError::BadHeader) for a header that
    /// [`Scope::add_response_header`](crate::Scope::add_response_header) refuses, [`Closed`](crate::error::Closed) after
    /// the exchange has ended.
    pub fn send_headers(&self, status: impl TryInto<StatusCode>, headers: &[(&str, &str)]) -> Result<()> {
        self.exchange.respond(self.scope(), status, headers, None)
    }

    /// Sends a part of the body, at the end of the thread's turn.
    ///
    /// If the client reads slowly, the call waits until the part fits into
    /// [`Limits::outbox_size`](crate::Limits::outbox_size). Without any progress it waits up to
    /// [`Limits::write_timeout`](crate::Limits::write_timeout). Meanwhile events wait, as behind any hook. An empty part
    /// does nothing. The parts of a HEAD, a 204, a 205 or a 304 are not sent.
    ///
    /// # Errors
    /// [`MisuseError::NoHeaders`](crate::error::MisuseError::NoHeaders) before [`send_headers`](Self::send_headers),
    /// [`Closed`](crate::error::Closed) after the exchange has ended, because the client left or read too slowly, or the
    /// response was finished.
    pub async fn send_body(&self, bytes: impl Into<Bytes>) -> Result<()> {
        self.exchange.send(bytes.into()).await
    }

    /// Ends the response. Parts that were sent before still go out.
    ///
    /// After that, only the hook `disconnect` runs. A second call does nothing. If `handle` returns without
    /// [`keep_open`](Self::keep_open), the response ends in the same way.
    ///
    /// # Errors
    /// [`MisuseError::NoHeaders`](crate::error::MisuseError::NoHeaders) before [`send_headers`](Self::send_headers).
    pub fn finish(&self) -> Result<()> {
        Ok(self.exchange.finish()?)
    }

    /// Sends a whole response, with its `content-length`, and ends it.
    ///
    /// It does not wait for the client.
    ///
    /// # Errors
    /// As [`send_headers`](Self::send_headers).
    pub fn send_response(
        &self,
        status: impl TryInto<StatusCode>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<()> {
        let body = body.into();
        self.exchange.respond(self.scope(), status, headers, Some(body.len() as u64))?;
        self.exchange.push(body)?;
        self.finish()
    }

    /// Sends `value` as JSON, as a whole response.
    ///
    /// # Errors
    /// As [`send_headers`](Self::send_headers), and if `value` cannot be written as JSON.
    pub fn send_json<T: Serialize + ?Sized>(
        &self,
        status: impl TryInto<StatusCode>,
        value: &T,
    ) -> Result<()> {
        let body = serde_json::to_vec(value)?;
        self.send_response(status, &[("content-type", "application/json")], body)
    }

    /// Keeps the exchange open when `handle` returns.
    ///
    /// Event handlers, timers and tasks go on with the response. The exchange ends when one of them calls
    /// [`finish`](Self::finish) or [`send_response`](Self::send_response), or when the client leaves. It may stay open
    /// before the headers too, as for a long poll, up to [`Limits::response_timeout`](crate::Limits::response_timeout).
    pub fn keep_open(&self) {
        self.exchange.keep_open();
    }

    /// The `id` of a server-sent event: how far this consumer has come in its groups that keep their events.
    ///
    /// Write it as the event's `id:` line. A browser's `EventSource` whose connection is cut comes back by itself, and
    /// sends the last id as `Last-Event-ID`, from which [`last_event_id`](Self::last_event_id) goes on. The event that is
    /// handled counts, so its own line has it. Send an id at the start too, so that a client misses nothing that is cut
    /// before its first event: a line `id: …` with an empty line behind it, which is no event for the page.
    ///
    /// The id is signed, for the user of this exchange ([`Scope::user_key`](crate::Scope::user_key)): with it a client
    /// can have what comes behind the event, and nothing before. It holds for 30 days, as far as the groups keep their
    /// events.
    ///
    /// It is `None` if no group of this consumer keeps its events, and if it cannot be said for sure what was handled: if
    /// the inbox is full, if a `#[relay]` waits, or if the group no longer keeps the event. Then leave the line out: the
    /// client comes back to an earlier place, and gets some events twice. A relay has no id: use a handler.
    ///
    /// With several such groups an id has a part of 74 characters for each, and at most 100 groups are read back.
    ///
    /// ```
    /// use greenroom::{Body, HttpConsumer, HttpContext, history::{Outcome, Since}, prelude::*};
    ///
    /// #[derive(Clone, Serialize, Deserialize, Event)]
    /// struct ChatMessage { text: String }
    ///
    /// struct Feed { room: GroupName }
    ///
    /// impl HttpConsumer for Feed {
    ///     async fn handle(&mut self, _body: Body, ctx: &mut HttpContext) -> Result<()> {
    ///         // Whoever comes for the first time gets the last 20.
    ///         let since = ctx.last_event_id(&self.room).unwrap_or(Since::Last(20));
    ///         let outcome = ctx.group_add_since(&self.room, since).await?;
    ///         ctx.send_headers(200, &[("content-type", "text/event-stream"), ("cache-control", "no-store")])?;
    ///         if let Outcome::Lost(reason) = outcome {
    ///             ctx.send_body(format!("event: reload\ndata: {reason}\n\n")).await?;
    ///         }
    ///         if let Some(id) = ctx.event_id() {
    ///             ctx.send_body(format!("id: {id}\n\n")).await?;
    ///         }
    ///         ctx.keep_open();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// #[event_handlers]
    /// impl Feed {
    ///     async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut HttpContext) -> Result<()> {
    ///         let id = ctx.event_id().map(|id| format!("id: {id}\n")).unwrap_or_default();
    ///         ctx.send_body(format!("{id}data: {}\n\n", event.text)).await
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn event_id(&self) -> Option<String> {
        self.exchange.event_id(self.scope().user_key())
    }

    /// Where the client was in a group, as its `Last-Event-ID` says: for [`group_add_since`].
    ///
    /// `None` if the request has no such header, or an empty one: the client is here for the first time. An id that is
    /// damaged, forged, of another user or group, or too old is no error: [`group_add_since`] then begins now, and returns
    /// [`Outcome::Lost`](crate::history::Outcome::Lost) with the reason. [`event_id`](Self::event_id) has an example.
    ///
    /// [`group_add_since`]: ConnectionContext::group_add_since
    #[must_use]
    pub fn last_event_id(&self, group: &GroupName) -> Option<Since> {
        let id = self.scope().header("last-event-id").filter(|id| !id.is_empty())?;
        let logs = &self.connection().hub().directory().logs;
        let epoch = logs.find(group).and_then(|log| log.seen()).map(|seen| seen.epoch);
        let (user, now) = (self.scope().user_key(), SystemTime::now());
        Some(Since::EventId(event_id::read(logs.secret(), id, group, epoch, user, now)))
    }

    /// A sender for this exchange that tasks can keep.
    #[must_use]
    pub fn handle(&self) -> HttpHandle {
        HttpHandle::new(&self.exchange)
    }
}

impl Deref for HttpContext {
    type Target = ConnectionContext;

    fn deref(&self) -> &ConnectionContext {
        &self.inner
    }
}

impl ClientContext for HttpContext {
    fn pass_on(&self, event: &str, relay: impl FnOnce() -> Option<Result<Outgoing>>) -> Result<()> {
        let Relayed::Message(message) = Relayed::new(relay, event, self.connection().counters()) else {
            return Ok(());
        };
        if self.connection().is_connecting() {
            tracing::debug!("a relayed event came before the headers of its response, and is dropped");
            return Ok(());
        }
        Ok(self.exchange.push(message.message().payload())?)
    }
}
