//! The body of a stream of server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Sleep, sleep},
};

/// After how long without a batch a comment is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts. Then its client asks again, which shows that it is there.
const LIFE: Duration = Duration::from_secs(300);

/// A batch with its number.
pub(crate) type NumberedBatch = (u64, Bytes);

/// Writes batches as they come. It reads nothing of the session: a client that does not read stops only this.
pub(crate) struct EventsBody {
    batches: mpsc::Receiver<NumberedBatch>,
    /// Dropped with the body, as when its client has left: the session is told so.
    _life: oneshot::Receiver<Infallible>,
    begun: bool,
    heartbeat: Pin<Box<Sleep>>,
    until: Instant,
}

impl EventsBody {
    pub(crate) fn new(batches: mpsc::Receiver<NumberedBatch>, life: oneshot::Receiver<Infallible>) -> Self {
        let heartbeat = Box::pin(sleep(HEARTBEAT));
        Self { batches, _life: life, begun: false, heartbeat, until: Instant::now() + LIFE }
    }

    fn beat(&mut self, chunk: Bytes) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl MessageBody for EventsBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if !this.begun {
            // So that the client sees at once whether a proxy passes it on.
            this.begun = true;
            return this.beat(Bytes::from_static(b": open\n\n"));
        }
        match this.batches.poll_recv(cx) {
            Poll::Ready(Some((number, json))) => {
                let mut event = format!("id: {number}\ndata: ").into_bytes();
                event.reserve_exact(json.len() + 2);
                event.extend_from_slice(&json);
                event.extend_from_slice(b"\n\n");
                return this.beat(event.into());
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if this.heartbeat.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if Instant::now() >= this.until {
            return Poll::Ready(None);
        }
        // Polled again, so that the new time is waited for.
        this.beat(Bytes::from_static(b":\n\n"))
    }
}
