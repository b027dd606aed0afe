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
    /// Whether the stream has reached its age.
    old: bool,
}

impl EventsBody {
    pub(crate) fn new(batches: mpsc::Receiver<NumberedBatch>, life: oneshot::Receiver<Infallible>) -> Self {
        let heartbeat = Box::pin(sleep(HEARTBEAT));
        Self { batches, _life: life, begun: false, heartbeat, until: Instant::now() + LIFE, old: false }
    }

    fn beat(&mut self, chunk: Bytes) -> Poll<Option<Result<Bytes, Infallible>>> {
        let now = Instant::now();
        self.heartbeat.as_mut().reset(now + HEARTBEAT);
        self.old = now >= self.until;
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
        if this.old {
            // Batches that wait here are sent again with the next request.
            return Poll::Ready(None);
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
        // The caller polls again, and the heartbeat is then armed for its new time.
        this.beat(Bytes::from_static(b":\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// How long a stream lasts that gets a batch in each period.
    async fn age(period: Duration) -> Duration {
        let (out, batches) = mpsc::channel(1);
        let (_session, life) = oneshot::channel();
        let mut body = EventsBody::new(batches, life);
        let start = Instant::now();
        let mut ticks = tokio::time::interval(period);
        loop {
            tokio::select! {
                chunk = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)) => if chunk.is_none() {
                    return start.elapsed();
                },
                _ = ticks.tick() => out.try_send((1, Bytes::from_static(b"{}"))).unwrap(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_age_however_many_batches_it_gets() {
        for seconds in [1, 10, 14, 16, 1000] {
            let age = age(Duration::from_secs(seconds)).await;
            assert!((LIFE..=LIFE + HEARTBEAT).contains(&age), "a batch each {seconds} s: {age:?}");
        }
    }
}
