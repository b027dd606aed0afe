//! The life of one consumer in a worker.
//!
//! An instance does one job after the other. After a job that failed, a new instance is made.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    WorkerContext,
    ledger::{JobEnd, JobLedger, Stop, stop_asked, time_is_up},
};
use crate::{
    ChannelName, Envelope, EventHandlers, Layer, LayerError, Result,
    consumer::life::{Dispatched, dispatch},
    error::StopConsumer,
    guard::{drop_guarded, guard, panicked},
    layers::LayerGap,
    shown::Shown,
    time::{Pauses, over},
};

/// How long to wait after a failure that was not a job's.
const PAUSES: Pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(5));
/// How long to wait before such a failure of a channel is logged again.
const NOTICE: Duration = Duration::from_secs(60);

/// What one consumer of a worker works with.
pub(crate) struct Seat {
    index: usize,
    context: WorkerContext,
    timeout: Option<Duration>,
    ledger: Arc<JobLedger>,
    notices: Arc<Notices>,
}

impl Seat {
    pub(crate) fn new(
        index: usize,
        context: WorkerContext,
        timeout: Option<Duration>,
        ledger: Arc<JobLedger>,
        notices: Arc<Notices>,
    ) -> Self {
        Self { index, context, timeout, ledger, notices }
    }
}

/// What was logged for a channel. All its consumers share it, because they fail in the same way.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// When a failure that was not a job's was last logged.
    last_failure: Mutex<Option<Instant>>,
    /// Whether a job without a handler was logged.
    unhandled: AtomicBool,
}

impl Notices {
    /// Whether a failure is to be logged now.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= NOTICE);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Waits for the next pause, or until a stop is asked for.
async fn wait(pauses: &mut Pauses, stop: &mut watch::Receiver<Stop>) {
    tokio::select! {
        () = stop_asked(stop) => {}
        () = sleep(pauses.next()) => {}
    }
}

/// Runs one consumer until the worker stops.
pub(crate) async fn live<C: EventHandlers<WorkerContext>>(
    make: impl Fn(&WorkerContext) -> Result<C>,
    mut seat: Seat,
) {
    let mut stop = seat.context.stop();
    let _last = LastReceiveGuard {
        layer: seat.context.layer().clone(),
        channel: seat.context.channel_name().clone(),
    };
    let mut instance = None;
    let (mut making, mut receiving) = (PAUSES, PAUSES);
    loop {
        // The instance is made before a job is taken. If that fails, another consumer can do the job, or this one
        // later.
        let consumer = match instance.take() {
            Some(consumer) => consumer,
            None if has_stopped(&stop) => return,
            None => match guard(|| make(&seat.context)) {
                Ok(consumer) => consumer,
                Err(error) => {
                    if seat.notices.is_due() {
                        let channel = seat.context.channel_name();
                        tracing::error!(%channel, error = %Shown(&error), "no consumer can be made, no job is taken: trying again");
                    }
                    wait(&mut making, &mut stop).await;
                    continue;
                }
            },
        };
        making.reset();
        match next(&seat.context, &mut stop).await {
            None => return drop_guarded(consumer, "a consumer"),
            Some(Ok(envelope)) => {
                receiving.reset();
                instance = work(consumer, envelope, &mut seat, &mut stop).await;
            }
            Some(Err(error)) => {
                if seat.notices.is_due() {
                    let channel = seat.context.channel_name();
                    tracing::error!(%channel, error = %Shown(&error), "no job can be received: trying again");
                }
                instance = Some(consumer);
                wait(&mut receiving, &mut stop).await;
            }
        }
        // The other consumers of this thread get a turn, even if neither the layer nor the handler ever waits.
        tokio::task::yield_now().await;
    }
}

/// When it is dropped, tells the layer that this consumer receives no more.
struct LastReceiveGuard {
    layer: Layer,
    channel: ChannelName,
}

impl Drop for LastReceiveGuard {
    fn drop(&mut self) {
        self.layer.backend().received_last(&self.channel);
    }
}

fn has_stopped(stop: &watch::Receiver<Stop>) -> bool {
    *stop.borrow() != Stop::Not
}

/// Receives the next job. `None` at a stop, which loses no job.
async fn next(ctx: &WorkerContext, stop: &mut watch::Receiver<Stop>) -> Option<Result<Envelope, LayerError>> {
    tokio::select! {
        biased;
        () = stop_asked(stop) => None,
        received = ctx.layer().receive(ctx.channel_name()) => Some(received),
    }
}

/// How the handler of a job ended, or why it was cancelled.
enum JobOutcome {
    Cancelled,
    Done(Result<Dispatched>),
    TimedOut,
}

/// Does one job. Returns the consumer if it can do the next one.
async fn work<C: EventHandlers<WorkerContext>>(
    mut consumer: C,
    envelope: Envelope,
    seat: &mut Seat,
    stop: &mut watch::Receiver<Stop>,
) -> Option<C> {
    let Seat { index, context, timeout, ledger, notices } = seat;
    let (channel, event) = (context.channel_name().clone(), envelope.name().to_owned());
    ledger.begin(*index, &channel, &event);
    let outcome = perform(&mut consumer, envelope, context, *timeout, stop).await;
    let fit = matches!(outcome, JobOutcome::Done(Ok(_)));
    let end = match &outcome {
        JobOutcome::Cancelled => JobEnd::Cancelled,
        JobOutcome::Done(Ok(Dispatched::Handled)) => JobEnd::Done,
        JobOutcome::Done(Ok(_)) if LayerGap::is(&event) => JobEnd::Done,
        JobOutcome::Done(Ok(_)) => JobEnd::Unhandled,
        JobOutcome::Done(Err(error)) if error.is::<StopConsumer>() => JobEnd::Done,
        JobOutcome::Done(Err(_)) => JobEnd::Failed,
        JobOutcome::TimedOut => JobEnd::TimedOut,
    };
    if !ledger.end(*index, end) {
        // `RunningWorker::wait` has given the job up and logged that.
        drop_guarded(consumer, "a consumer");
        return None;
    }
    match (outcome, end) {
        (JobOutcome::Done(Ok(Dispatched::Unknown)), JobEnd::Unhandled) => {
            let consumer = std::any::type_name::<C>();
            if notices.unhandled.swap(true, Relaxed) {
                tracing::debug!(%channel, event = ?Shown(&event), consumer, "no handler for a job, which is lost");
            } else {
                tracing::warn!(%channel, event = ?Shown(&event), consumer, "no handler for a job, which is lost; further ones are logged at debug");
            }
        }
        (JobOutcome::Done(Err(error)), JobEnd::Failed) => {
            tracing::error!(%channel, event = ?Shown(&event), error = %Shown(&error), "a job failed");
            drop_guarded(error, "an error");
        }
        (JobOutcome::TimedOut, _) => {
            tracing::warn!(%channel, event = ?Shown(&event), limit = ?timeout, "a job took too long and was cancelled");
        }
        (JobOutcome::Cancelled, _) => {
            tracing::warn!(%channel, event = ?Shown(&event), "a job did not end within the grace of the stop and was cancelled");
        }
        _ => {}
    }
    if fit {
        return Some(consumer);
    }
    drop_guarded(consumer, "a consumer");
    None
}

/// Runs a handler until it ends or its time is up, then drops its future.
async fn perform<C: EventHandlers<WorkerContext>>(
    consumer: &mut C,
    envelope: Envelope,
    ctx: &mut WorkerContext,
    timeout: Option<Duration>,
    stop: &mut watch::Receiver<Stop>,
) -> JobOutcome {
    // The event is a user's value, so it is dropped inside the guarded future too.
    let job = async move {
        let done = dispatch(consumer, &envelope, ctx, false).await;
        drop(envelope);
        done
    };
    let mut job = Box::pin(AssertUnwindSafe(job).catch_unwind());
    let overdue = async {
        match timeout {
            None => std::future::pending().await,
            Some(timeout) => over(timeout).await,
        }
    };
    let outcome = tokio::select! {
        biased;
        done = &mut job => JobOutcome::Done(done.unwrap_or_else(|panic| Err(panicked(panic)))),
        () = overdue => JobOutcome::TimedOut,
        () = time_is_up(stop, Duration::ZERO) => JobOutcome::Cancelled,
    };
    drop_guarded(job, "a cancelled job");
    outcome
}
