//! The response body that is a stream of server-sent events.

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

/// If no batch was sent for so long, a comment is sent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts. Then the client asks for a new one, which shows that the client is still there.
const LIFE: Duration = Duration::from_secs(300);

/// A batch with its number.
pub(crate) type NumberedBatch = (u64, Bytes);

/// Writes batches as they come.
///
/// It shares no state with the session. So a client that does not read stops only this body.
pub(crate) struct EventsBody {
    batches: mpsc::Receiver<NumberedBatch>,
    /// Dropped with the body, for example when the client has left. The session then learns that the stream
    /// has ended.
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
            // With this first line the client sees at once whether a proxy passes the stream on.
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
        // The caller polls again, and the heartbeat is then armed for its new time.
        this.beat(Bytes::from_static(b":\n\n"))
    }
}
