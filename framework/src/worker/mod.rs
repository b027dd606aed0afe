//! Background work: consumers on named channels, in the process that serves or in another.
//!
//! A [`Worker`] takes the events that are sent to the channels of a [`ChannelNameRouter`] and calls their handlers: one
//! event is one job. It is what `manage.py runworker` is in Channels. It has nothing to do with the worker threads of a
//! server, which run connections.
//!
//! # A job
//! A handler in an [`#[event_handlers]`](crate::event_handlers) block whose context is a [`WorkerContext`] does it. Each
//! channel has one consumer, or as many as its [concurrency](JobLimits::concurrency); each does one job at a time. With
//! one consumer, in one process, jobs are done in the order in which they were sent.
//!
//! | The job | What becomes of it | The next job of this consumer |
//! |---|---|---|
//! | ends | | has the same instance, with what is on `self` |
//! | returns an error, or panics | is logged, and counted in [`Metrics::jobs_failed`](crate::Metrics::jobs_failed) | has a new instance |
//! | takes longer than its [`timeout`](JobLimits::timeout) | is cancelled, logged, and counted in [`jobs_timed_out`](crate::Metrics::jobs_timed_out) | has a new instance |
//! | returns [`StopConsumer`](crate::error::StopConsumer) | | has a new instance |
//! | has no handler, or its fields do not fit it | is logged, and counted in [`unhandled`](crate::Metrics::unhandled) | has the same instance |
//! | still runs when the [grace](Worker::grace) of a stop is over | is cancelled, logged by name, and counted in [`jobs_cancelled`](crate::Metrics::jobs_cancelled) | |
//!
//! None of these touches another job: a job is taken from the layer only by a consumer that has nothing else to do.
//!
//! # What is lost
//! Delivery is at most once (rule 24): a job that was taken is never done again. What fails, is cancelled, or runs when
//! the process is killed is lost, and is yours to send again; the jobs behind it stay in the layer. How long, and where,
//! is the layer's: in memory they end with the process, in Redis they do not. In both they stay for up to
//! [`expiry`](crate::LayerConfig::expiry), which is 60 s unless it is raised, by who sends and by who receives; and a channel
//! has at most [`capacity`](crate::LayerConfig::capacity) of them, 100, as the sender has it. In Django these are `expiry` and
//! `channel_capacity` of the layer's `CONFIG`. Stop a worker before its layer is [closed](Layer::close): then what was on
//! its way to it goes back.
//!
//! With `RedisPubSubLayer` each worker *process* gets every job, one of its consumers does it, and what is sent while no
//! worker runs is refused with [`NoReceiver`](crate::LayerError::NoReceiver). For jobs take another layer.
//!
//! # Threads
//! Consumers run on threads of the worker's own, each with actix's runtime, so that what a handler spawns need not be
//! `Send`. There are as many as consumers, at most one a core, or as [`Worker::threads`] says. A handler that computes
//! for long holds up the other consumers of its thread: [`WorkerContext::run_blocking`] does it elsewhere.

mod context;
pub(crate) mod ledger;
mod life;
mod limits;
mod router;
mod running;
mod starter;
mod thread;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, io, sync::Arc, thread::available_parallelism, time::Duration};

pub use self::{
    context::WorkerContext,
    ledger::{CancelledJob, Summary},
    limits::JobLimits,
    router::ChannelNameRouter,
    running::{RunningWorker, WorkerHandle},
};
use self::{
    ledger::JobLedger,
    life::{Notices, Seat},
    router::Channel,
};
use crate::{
    Layer,
    host::signals::Signals,
    layers::{DEFAULT_LAYER, Layers},
    routing::RouteErrors,
    time::FOREVER,
};

/// How long jobs have to end after a stop.
const GRACE: Duration = Duration::from_secs(30);

/// Does the jobs that are sent to the channels of a [`ChannelNameRouter`].
///
/// ```no_run
/// use greenroom::{ChannelName, ChannelNameRouter, Layer, Worker, WorkerContext, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// #[event("thumbnail.generate")]
/// struct Generate {
///     id: u64,
/// }
///
/// struct Thumbnails;
///
/// #[event_handlers]
/// impl Thumbnails {
///     async fn thumbnail_generate(&mut self, job: &Generate, ctx: &mut WorkerContext) -> Result<()> {
///         println!("the thumbnail of {}", job.id);
///         Ok(())
///     }
/// }
///
/// #[actix_web::main]
/// async fn main() -> Result<()> {
///     let layer = Layer::open("memory").await?;
///     layer.send(&ChannelName::new("thumbnails-generate")?, Generate { id: 1 }).await?;
///
///     let router = ChannelNameRouter::new().channel("thumbnails-generate", |_| Ok(Thumbnails));
///     let summary = Worker::new(layer.clone(), router)?.concurrency(4).run().await?;
///     println!("{} jobs", summary.jobs);
///     layer.close().await;
///     Ok(())
/// }
/// ```
///
/// The [module](crate::worker) says what becomes of a job, and what is lost.
#[must_use = "a worker does nothing until it is run or started"]
pub struct Worker {
    layers: HashMap<String, Layer>,
    layer: Layer,
    channels: Vec<Channel>,
    limits: JobLimits,
    grace: Duration,
    threads: Option<usize>,
}

impl Worker {
    /// A worker for the channels of a router, whose jobs come by `layer`.
    ///
    /// # Errors
    /// Everything that is wrong with the router, at once.
    pub fn new(layer: impl Into<Layer>, router: ChannelNameRouter) -> Result<Self, RouteErrors> {
        let layer = layer.into();
        Ok(Self {
            layers: [(DEFAULT_LAYER.to_owned(), layer.clone())].into(),
            layer,
            channels: router.build()?,
            limits: JobLimits::new(),
            grace: GRACE,
            threads: None,
        })
    }

    /// A further layer, for handlers that ask for it by [`WorkerContext::layer_as`]. No jobs come by it.
    pub fn layer_as(mut self, alias: impl Into<String>, layer: impl Into<Layer>) -> Self {
        self.layers.insert(alias.into(), layer.into());
        self
    }

    /// [`JobLimits::concurrency`] of each channel that has no limits of its own.
    pub fn concurrency(mut self, consumers: usize) -> Self {
        self.limits = self.limits.concurrency(consumers);
        self
    }

    /// [`JobLimits::timeout`] of each channel that has no limits of its own.
    pub fn job_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.limits = self.limits.timeout(time);
        self
    }

    /// How long jobs that run have to end after a stop; then they are cancelled. Default 30 s.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time.min(FOREVER);
        self
    }

    /// How many threads the consumers run on. Default one a consumer, at most one a core.
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = Some(count.max(1));
        self
    }

    /// Works until SIGINT or SIGTERM, then stops: takes no more jobs, and waits for those that run.
    ///
    /// It may run beside [`Server::run`](crate::Server::run), by `tokio::join!`: each hears the same signals. With a layer
    /// in memory rather [`start`](Self::start) it, and stop it behind the server, so that what the last connections
    /// send is still done. The layer stays open: [`Layer::close`] is for the program's end.
    ///
    /// # Errors
    /// Where the signal handlers cannot be set, or as [`start`](Self::start) and [`RunningWorker::wait`]. A second signal
    /// cancels what runs and returns with [`io::ErrorKind::Interrupted`]: a `main` that returns this ends the process with
    /// 1. After one signal the result is `Ok`, also where jobs had to be cancelled: see [`Summary::cancelled`].
    pub async fn run(self) -> io::Result<Summary> {
        let signals = Signals::new()?;
        self.start()?.until(signals).await
    }

    /// Starts the consumers on threads of their own, and returns.
    ///
    /// Await what it returns inside a runtime of tokio or actix.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start(self) -> io::Result<RunningWorker> {
        let ledger = Arc::new(JobLedger::new(&self.layer, self.grace));
        let layers = Layers::new(self.layers);
        let mut work = Vec::new();
        for Channel { name, limits, starter } in self.channels {
            let JobLimits { concurrency, timeout } = limits.unwrap_or_else(|| self.limits.clone());
            let notices = Arc::new(Notices::default());
            for _ in 0..concurrency {
                let context =
                    WorkerContext::new(self.layer.clone(), layers.clone(), name.clone(), ledger.stopped());
                let seat = Seat::new(work.len(), context, timeout, Arc::clone(&ledger), Arc::clone(&notices));
                work.push((Arc::clone(&starter), seat));
            }
            tracing::info!(
                channel = %name,
                consumer = starter.describe(),
                concurrency,
                "waiting for jobs"
            );
        }
        let threads = self.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        thread::start(work, threads, ledger)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("channels", &self.channels)
            .field("limits", &self.limits)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
