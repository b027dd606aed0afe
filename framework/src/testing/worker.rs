//! One consumer of a worker, to which the test hands jobs.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    ChannelName, Envelope, EventHandlers, Handled, IntoEnvelope, Layer, MemoryLayer, Result, WorkerContext,
    layers::{DEFAULT_LAYER, Layers},
    worker::ledger::JobLedger,
};

/// One consumer of a [`Worker`](crate::Worker), to which the test hands jobs.
///
/// In Channels this is `ApplicationCommunicator`. No channel, no thread and no limit is involved: a handler runs in the
/// test, which gets its errors and panics. Events that a job sends go to a new memory layer.
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
    /// If `make` fails, or if `channel` is not a valid name.
    pub fn new(channel: &str, make: impl FnOnce(&WorkerContext) -> Result<C>) -> Result<Self> {
        let layer = Layer::from(MemoryLayer::new());
        let ledger = Arc::new(JobLedger::new(&layer, Duration::ZERO));
        let layers = Layers::new([(DEFAULT_LAYER.to_owned(), layer.clone())].into());
        let context = WorkerContext::new(layer, layers, ChannelName::new(channel)?, ledger.stopped());
        Ok(Self { consumer: make(&context)?, context, ledger })
    }

    /// Does one job, with the same instance as the jobs before.
    ///
    /// The job is a value or a reference, or an [`Envelope`] if it has no Rust type in this program.
    ///
    /// # Errors
    /// The error of the handler, and [`EventError`](crate::EventError) if the fields do not fit the handler's event.
    pub async fn run(&mut self, job: impl IntoEnvelope) -> Result<Handled> {
        let job: Envelope = job.into();
        self.consumer.handle_event(&job, &mut self.context).await
    }

    /// The consumer, to look at its state.
    #[must_use]
    pub fn consumer(&self) -> &C {
        &self.consumer
    }

    /// The layer to which the jobs send.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        self.context.layer()
    }

    /// Makes [`WorkerContext::is_stopping`] true, and [`WorkerContext::stopping`] end. Does nothing else.
    pub fn stop(&self) {
        self.ledger.stop();
    }
}

impl<C> fmt::Debug for WorkerCommunicator<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerCommunicator").field("context", &self.context).finish_non_exhaustive()
    }
}
