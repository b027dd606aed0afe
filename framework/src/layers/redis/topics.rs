//! What the threads of a pub/sub layer share, and what is asked of the one that speaks with Redis.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender, oneshot};

use super::{
    codec::Codec,
    config::RedisSettings,
    echoes::Echoes,
    names::{group_topic, shard_of},
};
use crate::{
    ChannelName, GroupName,
    layers::{LayerError, server},
};

/// The state of one [`RedisPubSubLayer`](super::RedisPubSubLayer), and the driver of its kind.
#[derive(Debug)]
pub struct PubSub {
    pub(super) settings: RedisSettings,
    pub(super) codec: Codec,
    pub(super) echoes: Echoes,
    /// The channels of any process that somebody here has read or put into a group. They stay: what comes between two
    /// `receive` would be lost.
    pub(super) channels: Mutex<HashSet<ChannelName>>,
    /// Those of them that are subscribed to.
    pub(super) heard: Mutex<HashSet<ChannelName>>,
    /// `specific.<process>!`.
    pub(super) process: String,
    pub(super) operations: UnboundedSender<PubSubOperation>,
}

/// The state of a pub/sub layer.
pub(super) type PubSubShared = server::shared::Shared<PubSub>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(in crate::layers) enum PubSubOperation {
    Publish {
        topic: String,
        message: Bytes,
        /// To how many subscribers it went.
        reply: oneshot::Sender<Result<u64, LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// Subscribe to what is new in `channels`.
    Listen,
}

/// What nothing comes by any more.
#[derive(Debug)]
pub(in crate::layers) enum PubSubOver {
    /// The connection to this shard.
    Shard(usize),
    /// Topics that were left, and which subscriptions to them that were.
    Topics(Vec<(String, u64)>),
}

impl PubSubShared {
    pub(super) fn topic(&self, group: &GroupName) -> String {
        group_topic(&self.config.prefix, group)
    }

    pub(super) fn topic_shard(&self, topic: &str) -> usize {
        shard_of(topic, self.status.len())
    }

    pub(super) fn channels(&self) -> MutexGuard<'_, HashSet<ChannelName>> {
        self.driver.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn heard(&self) -> MutexGuard<'_, HashSet<ChannelName>> {
        self.driver.heard.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.tell(PubSubOperation::Listen);
        }
        let shard = self.topic_shard(channel);
        self.members.wait_until(&self.status, || heard() || !self.status.is_up(shard)).await;
        Ok(())
    }
}
