//! What the threads of a pub/sub layer share: its caller's, the one that speaks with Redis, and the one that delivers.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender, oneshot, watch};

use super::{
    codec::Codec,
    config::{Host, RedisConfig},
    echoes::Echoes,
    inbound::{Deliver, Inbox, Over, Source, log_undecodable},
    names::{group_topic, shard_of},
    status::Status,
};
use crate::{
    ChannelName, Delivery, GroupName,
    layers::{Groups, LayerError, server::members::Members},
    metrics::Counters,
};

/// The state of one [`RedisPubSubLayer`](super::RedisPubSubLayer).
#[derive(Debug)]
pub(super) struct PubSub {
    pub(super) config: RedisConfig,
    pub(super) codec: Codec,
    pub(super) groups: Groups,
    pub(super) status: Status,
    pub(super) members: Members,
    pub(super) echoes: Echoes,
    /// The channels of any process that somebody here has read or put into a group. They stay: what comes between two
    /// `receive` would be lost.
    channels: Mutex<HashSet<ChannelName>>,
    /// Those of them that are subscribed to.
    heard: Mutex<HashSet<ChannelName>>,
    /// `specific.<process>!`.
    pub(super) process: String,
    pub(super) room: Arc<Semaphore>,
    pub(super) operations: UnboundedSender<Operation>,
    pub(super) stop: Notify,
    /// Whether the thread has ended that speaks with Redis.
    pub(super) ended: watch::Sender<bool>,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Operation {
    Publish {
        topic: String,
        message: Bytes,
        /// To how many subscribers it went.
        reply: Option<oneshot::Sender<Result<u64, LayerError>>>,
        room: OwnedSemaphorePermit,
    },
    /// Subscribe to what is new in `channels`.
    Listen,
}

impl PubSub {
    pub(super) fn new(config: RedisConfig, groups: Groups, operations: UnboundedSender<Operation>) -> Self {
        Self {
            codec: config.pubsub_codec(),
            status: Status::new(config.hosts.iter().map(Host::address)),
            members: Members::default(),
            echoes: Echoes::default(),
            channels: Mutex::default(),
            heard: Mutex::default(),
            process: format!("specific.{}!", groups.directory().process),
            room: Arc::new(Semaphore::new(config.queue_bytes)),
            stop: Notify::new(),
            ended: watch::Sender::new(false),
            operations,
            groups,
            config,
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.groups.directory().counters
    }

    pub(super) fn topic(&self, group: &GroupName) -> String {
        group_topic(&self.config.prefix, group)
    }

    pub(super) fn shard(&self, topic: &str) -> usize {
        shard_of(topic, self.status.len())
    }

    pub(super) fn ask(&self, operation: Operation) {
        // The thread ends with the layer; who waits for a reply then learns that.
        let _ = self.operations.send(operation);
    }

    /// Tells everyone that nothing is sent or heard any more.
    pub(super) fn end(&self, inbox: &Inbox) {
        for shard in 0..self.status.len() {
            self.status.set_away(shard, "the layer has ended".to_owned());
        }
        // In this order: who waits for an echo from now on sees that none comes.
        self.members.unsettle(|_| true);
        for shard in 0..self.status.len() {
            inbox.over(Over::Shard(shard));
        }
        self.ended.send_replace(true);
    }

    pub(super) fn channels(&self) -> MutexGuard<'_, HashSet<ChannelName>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, HashSet<ChannelName>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to a channel of any process from now on; waits until that is so, where it can be.
    pub(super) async fn listen(&self, channel: &ChannelName) -> Result<(), LayerError> {
        {
            let (limit, mut channels) = (self.config.layer.channels, self.channels());
            if !channels.contains(channel) {
                if channels.len() >= limit {
                    return Err(LayerError::TooManyChannels { limit });
                }
                channels.insert(channel.clone());
            }
        }
        let heard = || self.heard().contains(channel);
        if !heard() {
            self.ask(Operation::Listen);
        }
        let shard = self.shard(channel);
        self.members.wait_until(&self.status, || heard() || !self.status.is_up(shard)).await;
        Ok(())
    }
}

impl Deliver for PubSub {
    type Source = Source;
    type Over = Over;

    async fn message(&self, bytes: Bytes, source: Source, _room: OwnedSemaphorePermit) {
        let Source::Topic(topic) = source else { return };
        let echo = self.echoes.take(&topic, &bytes);
        let envelope = match self.codec.read(bytes) {
            Ok((envelope, _)) => envelope,
            Err(error) => return log_undecodable(&self.status, self.counters(), &topic, &error),
        };
        let prefix = group_topic(&self.config.prefix, "");
        let group = topic.strip_prefix(&prefix).and_then(|name| GroupName::new(name).ok());
        let delivery = match (group, ChannelName::new(&topic)) {
            (Some(group), _) if echo.as_ref().is_some_and(|echo| echo.count) => {
                self.groups.publish_counted(&group, envelope).await
            }
            (Some(group), _) => {
                self.groups.publish(&group, envelope).await;
                Delivery::default()
            }
            (None, Ok(channel)) => {
                // A full inbox or queue has counted itself.
                if let Err(LayerError::NoReceiver) = self.groups.send(&channel, envelope).await {
                    self.counters().stray.one();
                }
                Delivery::default()
            }
            (None, Err(_)) => return self.counters().stray.one(),
        };
        if let Some(echo) = echo {
            // Who sent it may have given up.
            let _ = echo.heard.send(delivery);
        }
    }

    fn over(&self, over: Over) {
        match over {
            Over::Shard(shard) => self.echoes.lose(|topic| self.shard(topic) == shard),
            Over::Topics(topics) => self.echoes.leave(&topics),
        }
    }

    fn groups(&self) -> &Groups {
        &self.groups
    }
}
