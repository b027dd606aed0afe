//! What the hooks of an exchange, its tasks and the body of its response share.

use std::{cell::Cell, future::poll_fn, pin::pin, rc::Rc, task::Poll};

use actix_web::http::{Method, StatusCode, header::CONTENT_LENGTH};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    Result, Scope,
    close::{Cause, CloseCode},
    consumer::connection::{Connection, Head, RequestAnswer},
    error::{Closed, MisuseError},
};

/// One exchange: a connection whose outbox is the body of the response.
pub(crate) struct Exchange {
    connection: Rc<Connection>,
    /// Wakes the sends that wait for room in the outbox.
    room: Notify,
    kept_open: Cell<bool>,
    /// Whether the response has no body, whatever is sent. So it is for a HEAD, a 204, a 205 and a 304.
    bodyless: Cell<bool>,
}

impl Exchange {
    pub(crate) fn new(connection: &Rc<Connection>) -> Rc<Self> {
        Rc::new(Self {
            connection: Rc::clone(connection),
            room: Notify::new(),
            kept_open: Cell::new(false),
            bodyless: Cell::new(false),
        })
    }

    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    pub(super) fn keep_open(&self) {
        self.kept_open.set(true);
    }

    pub(super) fn is_kept_open(&self) -> bool {
        self.kept_open.get()
    }

    pub(crate) fn is_bodyless(&self) -> bool {
        self.bodyless.get()
    }

    /// Sends the head of the response.
    pub(super) fn respond(
        &self,
        scope: &Scope,
        status: u16,
        headers: &[(&str, &str)],
        length: Option<u64>,
    ) -> Result<()> {
        let known = StatusCode::from_u16(status).ok().filter(|_| (200..=599).contains(&status));
        let status = known.ok_or(MisuseError::BadResponseStatus(status))?;
        let mut length = length;
        // This is checked before the scope is changed.
        if !self.connection.is_connecting() {
            return Err(if self.connection.has_ended() {
                Closed.into()
            } else {
                MisuseError::AlreadyAnswered.into()
            });
        }
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()) {
                let bad = |_| MisuseError::BadHeader((*name).to_owned());
                length = Some(value.parse().map_err(bad)?);
            } else {
                scope.add_response_header(name, value)?;
            }
        }
        let bodyless = scope.method() == Method::HEAD.as_str()
            || matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
            );
        self.bodyless.set(bodyless);
        let head = Head { status, headers: scope.take_response_headers(), length };
        if !self.connection.answer(RequestAnswer::Respond(head)) {
            return Err(Closed.into());
        }
        if bodyless {
            self.finish()?;
        }
        Ok(())
    }

    /// Queues a part of the body, when there is room for it.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<()> {
        if self.connection.is_connecting() {
            return Err(MisuseError::NoHeaders.into());
        }
        if self.bodyless.get() || bytes.is_empty() {
            return Ok(());
        }
        while !self.has_room(bytes.len())? {
            let mut room = pin!(self.room.notified());
            poll_fn(|cx| match room.as_mut().poll(cx) {
                // After an end by this side, nothing makes room any more.
                Poll::Pending if !self.connection.has_ended() => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
        }
        Ok(self.connection.write(bytes)?)
    }

    /// Queues a part of the body without a look at the outbox's limit.
    pub(super) fn push(&self, bytes: Bytes) -> Result<(), Closed> {
        if self.bodyless.get() || bytes.is_empty() {
            return Ok(());
        }
        self.connection.write(bytes)
    }

    fn has_room(&self, length: usize) -> Result<bool, Closed> {
        if self.connection.has_ended() {
            return Err(Closed);
        }
        Ok(self.connection.has_room(length))
    }

    /// Ends the response in the normal way.
    pub(super) fn finish(&self) -> Result<(), MisuseError> {
        if self.connection.is_connecting() {
            return Err(MisuseError::NoHeaders);
        }
        self.connection.end(Cause::Consumer, CloseCode::NORMAL, "");
        Ok(())
    }

    /// Whether the whole body was sent.
    pub(crate) fn is_whole(&self) -> bool {
        let ending = self.connection.ending();
        ending.is_some_and(|ending| ending.cause == Cause::Consumer) && !self.connection.is_cut()
    }

    /// Notes that the body was read, or will never be read.
    pub(crate) fn note_room(&self) {
        self.room.notify_waiters();
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("connection", &self.connection).finish_non_exhaustive()
    }
}
