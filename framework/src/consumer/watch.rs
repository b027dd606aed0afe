//! Notices hooks that hold their thread: all other connections of the thread wait meanwhile.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tracing::level_filters::LevelFilter;

use crate::shown::Shown;

/// A hook that runs for longer than this without an await is logged.
const LONG: Duration = Duration::from_secs(1);

pin_project! {
    /// A hook, whose polls are measured.
    #[must_use = "a future does nothing until it is awaited"]
    pub(crate) struct Watched<'a, F> {
        consumer: fn() -> &'static str,
        hook: &'a str,
        #[pin]
        future: F,
    }
}

/// Measures each poll of a hook of the consumer type `C`. `hook` is its name: of the method, or of the event.
pub(crate) fn watched<C, F: Future>(hook: &str, future: F) -> Watched<'_, F> {
    Watched { consumer: std::any::type_name::<C>, hook, future }
}

impl<F: Future> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        measured(*this.consumer, this.hook, || this.future.poll(cx))
    }
}

/// Calls a function of the user, and logs it if it takes long.
pub(crate) fn measured<T>(consumer: fn() -> &'static str, hook: &str, call: impl FnOnce() -> T) -> T {
    if LevelFilter::current() < LevelFilter::WARN {
        return call();
    }
    let start = clock::now();
    let done = call();
    let took = clock::now().saturating_sub(start);
    if took > LONG {
        report(consumer(), hook, took);
    }
    done
}

#[cold]
fn report(consumer: &'static str, hook: &str, took: Duration) {
    tracing::warn!(
        consumer,
        hook = ?Shown(hook),
        took = ?Duration::from_millis(took.as_millis() as u64),
        "a hook held its thread, and all other connections of the thread waited: use run_blocking for what computes or blocks"
    );
}

/// The kernel's clock of the last tick, which is 1 to 10 ms old. To read it costs 6 ns, and an `Instant` 23 ns or more.
#[cfg(target_os = "linux")]
mod clock {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn now() -> Duration {
        // The clock does not run backwards, and starts at 0.
        Duration::try_from(clock_gettime(ClockId::MonotonicCoarse)).unwrap_or_default()
    }
}

#[cfg(not(target_os = "linux"))]
mod clock {
    use std::{
        sync::LazyLock,
        time::{Duration, Instant},
    };

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(super) fn now() -> Duration {
        START.elapsed()
    }
}
