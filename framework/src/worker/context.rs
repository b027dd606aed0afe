//! A job's view of its worker.

use std::{fmt, future::Future, ops::Deref};

use tokio::sync::watch;

use super::ledger::Stop;
use crate::{
    ChannelName, IntoEnvelope, Layer, Result,
    consumer::{EventContext, LayerContext, sealed::Sealed},
    layers::Layers,
};

/// What a handler of a job can do.
///
/// Each handler borrows it, and so does the function that makes the consumer. It cannot be kept.
///
/// It derefs to [`LayerContext`], which has the layers and the sends to groups.
///
/// The [guide](crate::docs::guide#background-work) has an example.
pub struct WorkerContext {
    layers: LayerContext,
    channel: ChannelName,
    stop: watch::Receiver<Stop>,
}

impl WorkerContext {
    pub(crate) fn new(
        layer: Layer,
        layers: Layers,
        channel: ChannelName,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        Self { layers: LayerContext::new(layer, layers), channel, stop }
    }

    pub(super) fn stop(&self) -> watch::Receiver<Stop> {
        self.stop.clone()
    }

    /// The channel that the job came through.
    ///
    /// If [`Layer::group_add`] has added the channel to a group, each event that is sent to the group is a job too.
    #[must_use]
    pub fn channel_name(&self) -> &ChannelName {
        &self.channel
    }

    /// Sends an event to one channel: that of a consumer, or of another worker's jobs.
    ///
    /// # Errors
    /// As [`Layer::send`].
    pub async fn send(&self, channel: &ChannelName, event: impl IntoEnvelope) -> Result<()> {
        Ok(self.layer().send(channel, event.into()).await?)
    }

    /// Whether the worker was asked to stop.
    ///
    /// A long job then has the [grace](crate::Worker::grace) to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow() != Stop::Not
    }

    /// Waits until the worker is asked to stop, for `tokio::select!` beside a long wait.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.stop.clone();
        async move {
            // It fails only if the worker is gone.
            let _ = stop.wait_for(|stop| *stop != Stop::Not).await;
        }
    }
}

impl Deref for WorkerContext {
    type Target = LayerContext;

    fn deref(&self) -> &LayerContext {
        &self.layers
    }
}

impl EventContext for WorkerContext {}
impl Sealed for WorkerContext {}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext").field("channel", &self.channel).finish_non_exhaustive()
    }
}
