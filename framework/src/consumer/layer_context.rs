//! What every hook and every handler can do, whatever it serves.

use std::fmt;

use crate::{
    Delivery, GroupName, IntoEnvelope, Layer, Result, error::MisuseError, history::HistoryReader,
    layers::Layers,
};

/// What every context can do: send to groups, use layers, and run blocking work.
///
/// [`WorkerContext`](crate::WorkerContext) and [`ConnectionContext`](super::ConnectionContext) deref to it. A function
/// that takes a `&LayerContext` can be called by hooks, and by handlers of jobs.
///
/// The [guide](crate::docs::guide#background-work) has an example.
pub struct LayerContext {
    layer: Layer,
    layers: Layers,
}

impl LayerContext {
    pub(crate) fn new(layer: Layer, layers: Layers) -> Self {
        Self { layer, layers }
    }

    /// Sends an event to every member of a group.
    ///
    /// A consumer that is a member gets its own event too: see
    /// [`group_send_others`](super::ConnectionContext::group_send_others). A member with a full inbox misses the event (rule 23): see
    /// [`group_send_counted`](Self::group_send_counted).
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

    /// Reads the events that a group keeps, and where its log ends now.
    ///
    /// [`HistoryReader`] has more examples.
    ///
    /// ```
    /// use greenroom::prelude::*;
    ///
    /// #[derive(Clone, Serialize, Deserialize, Event)]
    /// struct Said { text: String }
    ///
    /// #[derive(NoEvents)]
    /// struct Chat { room: GroupName }
    ///
    /// impl Consumer for Chat {
    ///     /// The client asks for the last ones.
    ///     async fn receive(&mut self, _: Message, ctx: &mut Context) -> Result<()> {
    ///         for said in ctx.history(&self.room).limit(10).read().await?.events {
    ///             ctx.send_event(&*said.envelope.event::<Said>()?)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn history(&self, group: &GroupName) -> HistoryReader {
        self.layer.history(group)
    }

    /// The layer of this consumer: the one with the alias [`LAYER`](crate::Consumer::LAYER).
    ///
    /// For the handler of a job, it is the layer that the jobs come through.
    #[must_use]
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The layer with another alias.
    ///
    /// A server or a mount has the layers that were given to it, and a worker those of
    /// [`Worker::layer_as`](crate::Worker::layer_as).
    ///
    /// # Errors
    /// [`MisuseError::NoLayer`] if there is no layer with this alias.
    pub fn layer_as(&self, alias: &str) -> Result<&Layer> {
        self.layers.get(alias).ok_or_else(|| MisuseError::NoLayer(alias.to_owned()).into())
    }

    /// Runs blocking work on a thread of a pool, and waits for it.
    ///
    /// Meanwhile the thread serves other consumers. If the hook or the job is cancelled, work that has begun goes on.
    ///
    /// # Errors
    /// If the work panicked, or the runtime ended.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}

impl fmt::Debug for LayerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerContext").field("layer", &self.layer).finish_non_exhaustive()
    }
}
