//! One consumer of a worker, whose jobs the test hands to it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    ChannelName, Envelope, EventHandlers, Handled, IntoEnvelope, Layer, MemoryLayer, Result, WorkerContext,
    layers::{DEFAULT_LAYER, Layers},
    worker::ledger::JobLedger,
};

/// One consumer of a [`Worker`](crate::Worker), whose jobs the test hands to it: Channels' `ApplicationCommunicator`.
///
/// There is no channel to wait at, no thread, and no limit: a handler runs in the test, and its errors and panics are
/// the test's. What the job sends goes to a memory layer of its own.
///
/// ```
/// use greenroom::{Handled, WorkerContext, prelude::*, testing::WorkerCommunicator};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Add {
///     number: u64,
/// }
///
/// struct Sum(u64);
///
/// #[event_handlers]
/// impl Sum {
///     async fn add(&mut self, job: &Add, _ctx: &mut WorkerContext) -> Result<()> {
///         self.0 += job.number;
///         Ok(())
///     }
/// }
///
/// # #[actix_web::main]
/// # async fn main() -> Result<()> {
/// let mut worker = WorkerCommunicator::new("sums", |_| Ok(Sum(1)))?;
/// assert_eq!(worker.run(Add { number: 2 }).await?, Handled::Yes);
/// assert_eq!(worker.consumer().0, 3);
/// # Ok(())
/// # }
/// ```
pub struct WorkerCommunicator<C> {
    consumer: C,
    context: WorkerContext,
    ledger: Arc<JobLedger>,
}

impl<C: EventHandlers<WorkerContext>> WorkerCommunicator<C> {
    /// Makes the consumer, as [`ChannelNameRouter::channel`](crate::ChannelNameRouter::channel) does.
    ///
    /// # Errors
    /// Where `make` fails, or `channel` is no name.
    pub fn new(channel: &str, make: impl FnOnce(&WorkerContext) -> Result<C>) -> Result<Self> {
        let layer = Layer::from(MemoryLayer::new());
        let ledger = Arc::new(JobLedger::new(&layer, Duration::ZERO));
        let layers = Layers::new([(DEFAULT_LAYER.to_owned(), layer.clone())].into());
        let context = WorkerContext::new(layer, layers, ChannelName::new(channel)?, ledger.stopped());
        Ok(Self { consumer: make(&context)?, context, ledger })
    }

    /// Does one job, with the same instance as the jobs before.
    ///
    /// The job is a value, a reference, or an [`Envelope`], as that of a job that is no Rust type here.
    ///
    /// # Errors
    /// The handler's own, and [`EventError`](crate::EventError) where the fields do not fit it.
    pub async fn run(&mut self, job: impl IntoEnvelope) -> Result<Handled> {
        let job: Envelope = job.into();
        self.consumer.handle_event(&job, &mut self.context).await
    }

    /// The consumer, to look at its state.
    #[must_use]
    pub fn consumer(&self) -> &C {
        &self.consumer
    }

    /// The layer that its jobs send to.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        self.context.layer()
    }

    /// Lets [`WorkerContext::is_stopping`] be true, and [`WorkerContext::stopping`] end. Nothing else happens.
    pub fn stop(&self) {
        self.ledger.stop();
    }
}

impl<C> fmt::Debug for WorkerCommunicator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerCommunicator").field("context", &self.context).finish_non_exhaustive()
    }
}
