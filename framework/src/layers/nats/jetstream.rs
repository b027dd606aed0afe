//! The settings of the logs that JetStream keeps.

/// How JetStream keeps the groups' [history](crate::LayerConfig::history).
///
/// The layer keeps one stream of files for each policy. [NATS](crate::docs::nats#history) says which, and what happens
/// on a server without JetStream.
///
/// | Setting | Default | Limit |
/// |---|---|---|
/// | [`replicas`](Self::replicas) | 1 | 1 to 5; more than 1 needs a cluster of so many servers with JetStream |
/// | [`create`](Self::create) | true | |
///
/// ```
/// use greenroom::{
///     LayerConfig,
///     history::History,
///     layers::nats::{JetStream, NatsConfig},
/// };
///
/// let config = NatsConfig::new("nats://10.0.0.1:4222")
///     .layer(LayerConfig::new().history("chat_*", History::last(100)))
///     .jetstream(JetStream::new().replicas(3));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct JetStream {
    pub(super) replicas: usize,
    pub(super) create: bool,
}

impl Default for JetStream {
    fn default() -> Self {
        Self { replicas: 1, create: true }
    }
}

impl JetStream {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// On how many servers of the cluster each stream is kept. Default 1, at most 5.
    ///
    /// With 1, history rests while the one server is away that has the stream. The number counts only when the layer
    /// makes the stream: a stream that exists keeps its own.
    pub fn replicas(mut self, servers: usize) -> Self {
        self.replicas = servers.clamp(1, 5);
        self
    }

    /// Whether the layer makes streams that do not exist. Default true.
    ///
    /// With false, an operator makes them. The log says with which settings, and until the layer connects again after
    /// that, the process keeps only its own history.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }
}
