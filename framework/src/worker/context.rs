//! A job's view of its worker.

use std::{fmt, future::Future};

use tokio::sync::watch;

use super::ledger::Stop;
use crate::{
    ChannelName, Delivery, GroupName, IntoEnvelope, Layer, Result,
    consumer::{EventContext, sealed::Sealed},
    error::MisuseError,
    layers::Layers,
};

/// What a handler of a job can do.
///
/// Each handler borrows it, and so does the function that makes the consumer. It cannot be kept.
pub struct WorkerContext {
    layer: Layer,
    layers: Layers,
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
        Self { layer, layers, channel, stop }
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

    /// The layer that the jobs come through.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The layer with another alias, which [`Worker::layer_as`](crate::Worker::layer_as) has added.
    ///
    /// # Errors
    /// [`MisuseError::NoLayer`] if there is no layer with this alias.
    pub fn layer_as(&self, alias: &str) -> Result<&Layer> {
        self.layers.get(alias).ok_or_else(|| MisuseError::NoLayer(alias.to_owned()).into())
    }

    /// Sends an event to one channel: that of a consumer, or of another worker's jobs.
    ///
    /// # Errors
    /// As [`Layer::send`].
    pub async fn send(&self, channel: &ChannelName, event: impl IntoEnvelope) -> Result<()> {
        Ok(self.layer.send(channel, event.into()).await?)
    }

    /// Sends an event to every member of a group.
    ///
    /// # Errors
    /// As [`Layer::group_send`].
    pub async fn group_send(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<()> {
        Ok(self.layer.group_send(group, event.into()).await?)
    }

    /// As [`group_send`](Self::group_send), and counts how many members got the event.
    ///
    /// # Errors
    /// As [`Layer::group_send`].
    pub async fn group_send_counted(&self, group: &GroupName, event: impl IntoEnvelope) -> Result<Delivery> {
        Ok(self.layer.group_send_counted(group, event.into()).await?)
    }

    /// Runs blocking work on a thread of a pool, and waits for it.
    ///
    /// Meanwhile the other consumers of this thread go on. If the job is cancelled, work that has begun goes on.
    ///
    /// # Errors
    /// If the work panicked, or the runtime ended.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        Ok(tokio::task::spawn_blocking(work).await?)
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

impl EventContext for WorkerContext {}
impl Sealed for WorkerContext {}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext").field("channel", &self.channel).finish_non_exhaustive()
    }
}
