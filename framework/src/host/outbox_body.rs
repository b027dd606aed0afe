//! The body of a 101 in an App: the frames of a connection, then the end of its TCP connection.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    dev::Payload,
    error::{Error, PayloadError},
    web::Bytes,
};
use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use crate::consumer::connection::Connection;

/// How long a client that has not sent its close frame may go on sending, before its socket is closed.
///
/// If the socket were closed at once with unread bytes, TCP would reset the connection, and might lose our close frame.
const LINGER: Duration = Duration::from_millis(250);

/// What a client sends. The connection's reader takes it, and at the end the body of the answer.
#[derive(Clone)]
pub(super) struct SharedPayload(Rc<RefCell<Payload>>);

impl SharedPayload {
    pub(super) fn new(payload: Payload) -> Self {
        Self(Rc::new(RefCell::new(payload)))
    }
}

impl Stream for SharedPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(cx)
    }
}

/// The body of a 101 response: drains the outbox, and ends TCP.
///
/// If a client stops reading, only this body stops.
pub(super) struct OutboxBody {
    connection: Rc<Connection>,
    payload: SharedPayload,
    /// Whether the socket speaks TLS, and so needs a proper end.
    secure: bool,
    end: BodyEnd,
}

/// How far the end of a body has come.
enum BodyEnd {
    NotReached,
    /// Actix has the last frame, and flushes it before it asks again.
    Flushing,
    /// The client may still send.
    Lingering(Pin<Box<Sleep>>),
}

impl OutboxBody {
    pub(super) fn new(connection: Rc<Connection>, payload: SharedPayload, secure: bool) -> Self {
        Self { connection, payload, secure, end: BodyEnd::NotReached }
    }

    /// Throws away what the client still sends. `Ready` when it has left.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(Pin::new(&mut self.payload).poll_next(cx)) {}
        Poll::Ready(())
    }
}

impl MessageBody for OutboxBody {
    type Error = Error;

    /// A size that is never reached; the head of a 101 does not say it.
    ///
    /// If a body ends before its size, actix closes the socket at once. Otherwise actix would read on for as long as
    /// `client_disconnect_timeout` says, and the client would wait for the end of TCP. Under TLS actix's way is taken,
    /// because a socket that is dropped does not say `close_notify`.
    fn size(&self) -> BodySize {
        if self.secure { BodySize::Stream } else { BodySize::Sized(u64::MAX) }
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let this = self.get_mut();
        if let BodyEnd::NotReached = this.end {
            if let Some(frame) = ready!(this.connection.poll_outbox(cx)) {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.secure || this.connection.is_gone() {
                return Poll::Ready(None);
            }
            if this.connection.is_closed_by_client() {
                this.end = BodyEnd::Flushing;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.end = BodyEnd::Lingering(Box::pin(sleep(LINGER)));
        }
        if this.poll_left(cx).is_pending()
            && let BodyEnd::Lingering(timer) = &mut this.end
        {
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(None)
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        if !self.connection.is_finished() || !self.connection.is_written() {
            self.connection.gone();
        }
    }
}
