//! The state that the threads of a pub/sub layer share, and its operations.

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
    leaving::Leaving,
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
    /// The topics from which Redis has still to take this process.
    pub(super) leaving: Leaving,
    /// The channels of any process that this process has read or put into a group.
    ///
    /// They are never removed, because a message that comes between two calls of `receive` would be lost.
    pub(super) channels: Mutex<HashSet<ChannelName>>,
    /// Those of `channels` to which the layer is subscribed.
    pub(super) heard: Mutex<HashSet<ChannelName>>,
    /// `specific.<process>!`, with which the channels of this process start.
    pub(super) process: String,
    pub(super) operations: UnboundedSender<PubSubOperation>,
}

/// The shared state of a pub/sub layer.
pub(super) type PubSubShared = server::shared::Shared<PubSub>;

/// A request to the driver's thread.
#[derive(Debug)]
pub(in crate::layers) enum PubSubOperation {
    /// Publish a message.
    Publish {
        topic: String,
        message: Bytes,
        /// Gets the number of subscribers that the message reached.
        reply: oneshot::Sender<Result<u64, LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// Subscribe to the new ones in `channels`.
    Listen,
}

/// From where nothing comes any more.
#[derive(Debug)]
pub(in crate::layers) enum PubSubOver {
    /// From this shard: its connection is lost.
    Shard(usize),
    /// From these topics, which were left, each with the number of its subscription.
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

    /// Subscribes to a channel of any process from now on.
    ///
    /// Waits until that is done, or the channel's shard is away.
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
