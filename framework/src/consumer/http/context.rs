//! A hook's view of its exchange.

use std::{ops::Deref, rc::Rc};

use bytes::Bytes;
use serde::Serialize;

use super::{exchange::Exchange, handle::HttpHandle};
use crate::{
    Outgoing, Result,
    consumer::{ClientContext, ConnectionContext},
    groups::fan_out::Relayed,
};

/// What a hook can do with its exchange.
///
/// Each hook borrows it, so a consumer cannot keep it; [`handle`](Self::handle) gives a sender that tasks can keep.
///
/// It derefs to [`ConnectionContext`], which has the groups, tasks and timers, and that to
/// [`LayerContext`](crate::LayerContext), which has the sends to groups.
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
    /// The client gets them at once, before any body. Names may repeat. Without a `content-length` the body is sent in
    /// chunks. With one, bytes beyond it are cut off, and if fewer bytes are sent, the connection is cut.
    ///
    /// # Errors
    /// [`MisuseError::AlreadyAnswered`](crate::error::MisuseError::AlreadyAnswered) if the headers have been sent
    /// already, [`MisuseError::BadResponseStatus`](crate::error::MisuseError::BadResponseStatus) for a status outside
    /// 200 to 599, [`MisuseError::BadHeader`](crate::error::MisuseError::BadHeader) for a header that
    /// [`Scope::add_response_header`](crate::Scope::add_response_header) refuses, [`Closed`](crate::error::Closed) after
    /// the exchange has ended.
    pub fn send_headers(&self, status: u16, headers: &[(&str, &str)]) -> Result<()> {
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
    pub fn send_response(&self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<()> {
        let body = body.into();
        self.exchange.respond(self.scope(), status, headers, Some(body.len() as u64))?;
        self.exchange.push(body)?;
        self.finish()
    }

    /// Sends `value` as JSON, as a whole response.
    ///
    /// # Errors
    /// As [`send_headers`](Self::send_headers), and if `value` cannot be written as JSON.
    pub fn send_json<T: Serialize + ?Sized>(&self, status: u16, value: &T) -> Result<()> {
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
