//! Runs one hook of a consumer until it ends or its time is over.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::{Instant, Sleep};

use super::connection::Connection;
use crate::{
    Result,
    guard::{guard, panicked},
    shown::Shown,
    time::{GRACE, grace},
};

/// How a hook ended.
pub(super) enum HookOutcome {
    /// It took longer than its limit, or than the grace after the connection's end.
    Cancelled,
    Done(Result<()>),
}

/// When a hook is cancelled.
#[derive(Clone, Copy)]
pub(super) enum HookLimit {
    /// After this time, whatever the connection does.
    Whole(Duration),
    /// If it has not answered the handshake within this time. After the answer, as [`Grace`](Self::Grace).
    Connecting(Duration),
    /// If it still runs at the end of the grace, which begins with the connection's end.
    Grace,
    /// If an HTTP exchange has no headers by this time, or its client is gone. Otherwise as [`Grace`](Self::Grace).
    Responding(Option<Instant>),
}

impl HookLimit {
    /// The time after which a suspended hook is cancelled, and whether that time is the grace.
    fn current(self, connection: &Connection) -> Option<(Duration, bool)> {
        match self {
            Self::Whole(limit) => Some((limit, false)),
            Self::Connecting(limit) if connection.is_connecting() => Some((limit, false)),
            Self::Responding(overdue) if connection.is_connecting() => {
                overdue.map(|overdue| (overdue.saturating_duration_since(Instant::now()), false))
            }
            Self::Responding(_) if connection.is_gone() => Some((Duration::ZERO, true)),
            Self::Connecting(_) | Self::Grace | Self::Responding(_) => {
                connection.grace_left().map(|grace| (grace, true))
            }
        }
    }
}

/// Runs a hook until it ends or is cancelled.
///
/// The hook borrows the consumer, so a cancelled hook gives the consumer back. What the hook held is dropped, and if that
/// panics, the consumer's life goes on to `disconnect`. Callers wrap the hook in an `async` block, because a hook that is
/// a plain function may panic before it returns its future.
pub(super) async fn run(
    connection: &Connection,
    limit: HookLimit,
    hook: impl Future<Output = Result<()>>,
) -> HookOutcome {
    let mut hook = pin!(Some(AssertUnwindSafe(hook).catch_unwind()));
    // The flag says whether the timer measures the grace after the end.
    let mut timer: Option<(bool, Pin<Box<Sleep>>)> = None;
    let mut put_off = false;
    let outcome = poll_fn(|cx| {
        if let Some(hook) = hook.as_mut().as_pin_mut()
            && let Poll::Ready(done) = hook.poll(cx)
        {
            return Poll::Ready(HookOutcome::Done(done.unwrap_or_else(|panic| Err(panicked(panic)))));
        }
        let Some((limit, ended)) = limit.current(connection) else {
            timer = None;
            return Poll::Pending;
        };
        // The limit changes when the client leaves or is answered. Then the timer starts again.
        timer = timer.take().filter(|(measures, _)| *measures == ended);
        let (_, timer) = timer.get_or_insert_with(|| (ended, Box::pin(tokio::time::sleep(limit))));
        while timer.as_mut().poll(cx).is_ready() {
            let due = timer.deadline();
            if limit.is_zero() || put_off || due.elapsed() < GRACE {
                return Poll::Ready(HookOutcome::Cancelled);
            }
            // The thread was blocked. What the hook waits for may have come in time, so it is read first.
            put_off = true;
            timer.as_mut().reset(Instant::now() + grace(due));
        }
        Poll::Pending
    })
    .await;
    // A hook that has ended holds nothing any more.
    if matches!(outcome, HookOutcome::Cancelled)
        && let Err(error) = guard(|| {
            hook.set(None);
            Ok(())
        })
    {
        tracing::error!(channel = %connection.channel_name(), error = %Shown(error), "a hook panicked when it was cancelled");
    }
    outcome
}
