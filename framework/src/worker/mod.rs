//! Background work: consumers on named channels, in the process that serves or in another.
//!
//! A [`Worker`] takes the events that are sent to the channels of a [`ChannelNameRouter`] and calls their handlers:
//! one event is one job. It is what `manage.py runworker` is in Channels. It has nothing to do with the threads of
//! a server, which run connections.
//!
//! # A job
//! A handler in an [`#[event_handlers]`](crate::event_handlers) block does the job. Its context is a
//! [`WorkerContext`]. Each channel has one consumer, or as many as its [concurrency](JobLimits::concurrency) says.
//! Each consumer does one job at a time. With one consumer, in one process, jobs are done in the order in which
//! they were sent.
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
//! None of these affects another job: a consumer takes a job from the layer only when it has nothing else to do.
//!
//! # What is lost
//! Delivery is at most once (rule 24). A job that was taken is never done again. A job that fails, is cancelled, or
//! runs when the process is killed is lost: send it again if you need it. The jobs behind it stay in the layer.
//!
//! The layer decides where and how long they stay. In memory they end with the process, in Redis they do not. In
//! both they stay for up to [`expiry`](crate::LayerConfig::expiry), by default 60 s. To raise it, set it for both
//! the sender and the receiver. A channel has at most [`capacity`](crate::LayerConfig::capacity) of them, as set
//! for the sender, by default 100. In Django these settings are `expiry` and `channel_capacity` in the layer's
//! `CONFIG`. Stop a worker before its layer is [closed](Layer::close): then jobs on their way to the worker go back
//! to the layer.
//!
//! Do not use `RedisPubSubLayer` for jobs. With it each worker *process* gets every job, and one of its consumers
//! does it. A job that is sent while no worker runs is refused with [`NoReceiver`](crate::LayerError::NoReceiver).
//!
//! # Threads
//! Consumers run on the worker's own threads. Each has actix's runtime, so tasks that a handler spawns need not be
//! `Send`. There are as many threads as consumers, but at most one for each core, or as many as [`Worker::threads`]
//! says. A handler that computes for a long time holds up the other consumers of its thread: use
//! [`WorkerContext::run_blocking`](crate::LayerContext::run_blocking) for such work.

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
    runtime,
    time::FOREVER,
};

/// How long running jobs have to end after a stop.
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
/// The [module's docs](crate::worker) say what becomes of a job, and which jobs are lost.
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
    /// Makes a worker for the channels of a router. The jobs come through `layer`.
    ///
    /// # Errors
    /// All errors of the router, at once.
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

    /// Adds a layer for handlers that ask for it by [`WorkerContext::layer_as`](crate::LayerContext::layer_as).
    ///
    /// No jobs come through it.
    pub fn layer_as(mut self, alias: impl Into<String>, layer: impl Into<Layer>) -> Self {
        self.layers.insert(alias.into(), layer.into());
        self
    }

    /// Sets the [`JobLimits::concurrency`] of each channel without its own limits.
    pub fn concurrency(mut self, consumers: usize) -> Self {
        self.limits = self.limits.concurrency(consumers);
        self
    }

    /// Sets the [`JobLimits::timeout`] of each channel without its own limits.
    pub fn job_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.limits = self.limits.timeout(time);
        self
    }

    /// How long running jobs have to end after a stop. Default 30 s.
    ///
    /// After that they are cancelled.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time.min(FOREVER);
        self
    }

    /// How many threads the consumers run on.
    ///
    /// The default is one for each consumer, but at most one for each core.
    pub fn threads(mut self, count: usize) -> Self {
        self.threads = Some(count.max(1));
        self
    }

    /// Works until SIGINT or SIGTERM, then stops gracefully.
    ///
    /// A worker that stops takes no more jobs, and waits for the running ones.
    ///
    /// It may run beside [`Server::run`](crate::Server::run), with `tokio::join!`: both get the same signals. With
    /// a layer in memory, [`start`](Self::start) the worker instead and stop it after the server, so that jobs of
    /// the last connections are still done. The layer stays open: call [`Layer::close`] at the end of the program.
    ///
    /// # Errors
    /// If the signal handlers cannot be set, and as [`start`](Self::start) and [`RunningWorker::wait`]. A second
    /// signal cancels the running jobs, and the error is [`io::ErrorKind::Interrupted`]. A `main` that returns this
    /// error ends the process with exit code 1. After one signal the result is `Ok`, even if jobs had to be
    /// cancelled: see [`Summary::cancelled`].
    pub async fn run(self) -> io::Result<Summary> {
        runtime::require_any()?;
        let signals = Signals::new()?;
        self.start()?.until(signals).await
    }

    /// Starts the consumers on the worker's own threads, and returns.
    ///
    /// Await the [`RunningWorker`] inside a runtime of tokio or actix.
    ///
    /// # Errors
    /// If a thread cannot be started.
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
