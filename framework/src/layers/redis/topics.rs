//! The state that the threads of a pub/sub layer share, and its operations.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender, oneshot};

use super::{
    codec::Codec,
    config::RedisSettings,
    echoes::{Echoes, ExpectedEcho},
    leaving::Leaving,
    listening::Listening,
    log::{
        append::{Appending, Settled},
        entry::Notice,
        publish::Counted,
        store::RedisLogs,
    },
    names::{group_topic, shard_of, side_topic},
};
use crate::{
    ChannelName, GroupName,
    layers::{LayerError, server},
};

/// The state of one [`RedisPubSubLayer`](super::RedisPubSubLayer), and the driver of its kind.
#[derive(Debug)]
pub struct PubSub {
    pub(super) settings: RedisSettings,
    pub(super) codec: Arc<Codec>,
    pub(super) logs: Arc<RedisLogs>,
    pub(super) counted: Arc<Counted>,
    pub(super) listening: Listening,
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

/// What comes to the thread that delivers.
#[derive(Debug)]
pub(in crate::layers) enum PubSubSource {
    /// One more process listens to a group, under this number.
    Listens(GroupName, u64),
    /// An event of this process, of which it is known now whether it is in the log of its group.
    Own(Box<Settled>),
    /// A message that was published to a topic, and the notice that came just before.
    Topic(String, Option<Notice>),
}

/// A request to the driver's thread.
#[derive(Debug)]
pub(in crate::layers) enum PubSubOperation {
    /// Append an event to the log of its group, and publish it.
    Append(Box<Appending>, OwnedSemaphorePermit),
    /// Say again that this process listens to a group: it has missed something.
    Listens(GroupName),
    /// Publish a message.
    Publish {
        topic: String,
        /// If the topic belongs to a group with a log: the topic beside it. It gets a notice that the log does not keep
        /// this message.
        beside: Option<String>,
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

    /// The topic beside that of a group.
    pub(super) fn side_topic(&self, group: &str) -> String {
        side_topic(&self.config.prefix, group)
    }

    /// Whether a group has a log.
    pub(super) fn has_log(&self, group: &GroupName) -> bool {
        self.config.layer.history_of(group).is_some()
    }

    /// The group of a topic.
    pub(super) fn group_of(&self, topic: &str) -> Option<GroupName> {
        topic.strip_prefix(&group_topic(&self.config.prefix, "")).and_then(|name| GroupName::new(name).ok())
    }

    /// The topics to which this process listens for a group: that with the notices too, if the group has a log.
    pub(super) fn topics_of<'a>(&self, groups: impl Iterator<Item = &'a GroupName>) -> Vec<String> {
        let topics = groups.flat_map(|group| {
            let beside = self.has_log(group).then(|| self.side_topic(group));
            [Some(self.topic(group)), beside].into_iter().flatten()
        });
        topics.collect()
    }

    /// Takes out the sender in this process that waits for this message. Nobody waits for an entry of a log so.
    pub(super) fn echo(&self, topic: &str, message: &[u8], notice: Option<Notice>) -> Option<ExpectedEcho> {
        if matches!(notice, Some(Notice::Logged(_))) {
            return None;
        }
        self.driver.echoes.take(topic, message)
    }

    /// Waits until the subscribers that Redis counts can be told from this process, for a sender who counts.
    ///
    /// After the last member has left, Redis counts this process until it has been told so. This waits also for a leaving
    /// of which the driver's thread does not know yet.
    pub(super) async fn countable(&self, group: &GroupName) {
        let topic = self.topic(group);
        let shard = self.topic_shard(&topic);
        let has_left = || self.members.is_settled(group).is_none() && !self.driver.leaving.has(&topic);
        let is_clear = || self.groups.has_members(group) || has_left() || !self.status.is_up(shard);
        self.members.wait_until(&self.status, is_clear).await;
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
