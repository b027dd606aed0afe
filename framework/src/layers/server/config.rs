//! The settings that all layers on a server have.

use std::time::Duration;

use super::Away;
use crate::{history::History, layers::LayerConfig};

/// For how long a server may take by default. It is shorter than the time that `connect` has, and leaves time for the rest.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The settings of a layer on a server.
///
/// They are the settings that every kind of server has, and those of one kind, `B`. Programs know this type
/// as `RedisConfig` and `NatsConfig`.
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerConfig<B> {
    pub(in crate::layers) common: Common,
    pub(in crate::layers) backend: B,
}

/// The settings that every layer on a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::layers) struct Common {
    pub(in crate::layers) prefix: String,
    pub(in crate::layers) layer: LayerConfig,
    pub(in crate::layers) away: Away,
    pub(in crate::layers) timeout: Duration,
    pub(in crate::layers) queue_bytes: usize,
}

impl<B> ServerConfig<B> {
    pub(in crate::layers) fn with_backend(backend: B, prefix: &str) -> Self {
        let common = Common {
            prefix: prefix.to_owned(),
            layer: LayerConfig::new(),
            away: Away::default(),
            timeout: TIMEOUT,
            queue_bytes: 16 << 20,
        };
        Self { common, backend }
    }

    /// The text with which all keys, topics or subjects start.
    ///
    /// The default is `asgi` on Redis, and `greenroom` on NATS. On NATS it is one word, or several with dots
    /// between them.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.common.prefix = prefix.into();
        self
    }

    /// Capacities and lifetimes.
    ///
    /// `channels` and `group_queues` bound the queues of this process, and not those on the server.
    pub fn layer(mut self, config: LayerConfig) -> Self {
        self.common.layer = config;
        self
    }

    /// The groups whose name fits `pattern` keep their events on the server.
    ///
    /// A short form of [`LayerConfig::history`], and added to what [`layer`](Self::layer) has.
    pub fn history(mut self, pattern: impl Into<String>, history: History) -> Self {
        self.common.layer = self.common.layer.history(pattern, history);
        self
    }

    /// What happens to a `group_send` while the server is away. Default [`Away::Local`].
    pub fn away(mut self, away: Away) -> Self {
        self.common.away = away;
        self
    }

    /// How long the server may take to answer or to connect. Default 3 s, at least 100 ms.
    ///
    /// Keep it below [`Limits::connect_timeout`](crate::Limits::connect_timeout). So a `connect` that joins a group goes on
    /// in this process when the server hangs, and is not cancelled.
    ///
    /// A server that takes longer counts as away. On NATS, another process has the same time to answer.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.common.timeout = time.clamp(Duration::from_millis(100), Duration::from_secs(3600));
        self
    }

    /// How many bytes of messages may wait in each direction. Default 16 MiB.
    ///
    /// If so many bytes wait to be written to the server, a sender waits, at most for as long as the server
    /// may take to answer. If so many bytes have come from the server and wait to be delivered, `RedisLayer`
    /// takes no more from Redis, and there the capacity that the senders have set holds. The other layers
    /// then drop messages, and count them in [`Metrics::inbound_full`](crate::Metrics::inbound_full).
    /// `NatsLayer` also tells the affected members by a [`LayerGap`](crate::layers::LayerGap). A message with
    /// more bytes than this is refused with
    /// [`LayerError::MessageTooLarge`](crate::LayerError::MessageTooLarge).
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.common.queue_bytes = bytes.clamp(64 << 10, 1 << 30);
        self
    }
}
