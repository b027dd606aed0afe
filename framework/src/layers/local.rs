//! The part of every layer that serves this process, as backends see it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{LayerConfig, LayerError};
use crate::{
    ChannelName, Delivery, Envelope, GroupName, NameError,
    groups::{
        directory::Directory,
        key::{Key, consumer_of, is_of},
        queue::{Call, HubGone, HubQueue},
    },
    metrics::Metrics,
    names::random_text,
};

/// The consumers, groups and queues of this process, for one layer.
///
/// A backend holds one, and hands to it the events that arrive for this process.
#[derive(Debug)]
pub struct Groups(Arc<Directory>);

impl Groups {
    /// Makes an empty one with the bounds of `config`.
    #[must_use]
    pub fn new(config: LayerConfig) -> Self {
        Self(Directory::new(config))
    }

    /// As [`new`](Self::new), for a backend that tells its server which groups have members.
    ///
    /// See [`changed`](Self::changed).
    #[must_use]
    pub fn watched(config: LayerConfig) -> Self {
        Self(Directory::watched(config))
    }

    /// As [`new`](Self::new), for a backend that tells its server the name of each member.
    #[cfg(feature = "redis")]
    pub(crate) fn watched_members(config: LayerConfig) -> Self {
        Self(Directory::watched_members(config))
    }

    /// The channel of a member that has joined or left.
    #[cfg(feature = "redis")]
    pub(crate) fn name_of(&self, member: crate::groups::changes::ChangedMember) -> ChannelName {
        use crate::groups::changes::ChangedMember;
        match member {
            ChangedMember::Consumer { hub, key } => {
                crate::groups::key::consumer_channel(&self.0.process, hub, key)
            }
            ChangedMember::Queue(channel) => channel,
        }
    }

    /// Waits until groups get their first member or lose their last one.
    ///
    /// It returns these groups.
    ///
    /// One task of a backend calls it. For each group the task then asks [`has_members`](Self::has_members),
    /// and tells its server if that has changed. A group is in the list only once, however often members come
    /// and go meanwhile. Changes are noted only if this was made by [`watched`](Self::watched).
    pub async fn changed(&self) -> Vec<GroupName> {
        self.0.changed().await
    }

    /// Whether a group has a member in this process.
    #[must_use]
    pub fn has_members(&self, group: &GroupName) -> bool {
        self.0.has_members(group)
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.0
    }

    /// Hands an event to every member of a group in this process.
    pub async fn publish(&self, group: &GroupName, envelope: Envelope) {
        self.0.publish(group, &[], envelope, false).await;
    }

    /// As [`publish`](Self::publish), but also waits, and returns how many members the event reached.
    pub async fn publish_counted(&self, group: &GroupName, envelope: Envelope) -> Delivery {
        self.0.publish(group, &[], envelope, true).await
    }

    /// Hands an event to every member of a group in this process but `except`: consumers and queues.
    ///
    /// With `count` it also waits, and returns how many members the event reached. Channels of other processes in
    /// `except` are ignored.
    pub async fn publish_except(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        self.0.publish(group, except, envelope, count).await
    }

    /// Hands an event to a consumer of this process, or to a queue.
    ///
    /// # Errors
    /// [`LayerError::ChannelFull`], [`LayerError::NoReceiver`] or [`LayerError::TooManyChannels`].
    pub async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        match self.consumer_of(channel) {
            Some((hub, key)) => {
                self.ask(hub, |reply, room| Call::Send { key, envelope, reply, room }).await?
            }
            None if self.is_foreign(channel) => Err(LayerError::NoReceiver),
            None => self.0.queues.push(channel, envelope, &self.0.config, &self.0.counters),
        }
    }

    /// Waits for the next message of a queue. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`LayerError::ConsumerChannel`], [`LayerError::TooManyChannels`], or [`LayerError::WrongProcess`]
    /// (rule 30: only the process that made a channel with a `!` receives from it).
    pub async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        if self.consumer_of(channel).is_some() {
            return Err(LayerError::ConsumerChannel(channel.clone()));
        }
        if self.is_foreign(channel) {
            return Err(LayerError::WrongProcess(channel.clone()));
        }
        self.0.queues.receive(channel, &self.0.counters).await
    }

    /// Makes the name of a queue of this process.
    ///
    /// # Errors
    /// [`LayerError::Name`] if `prefix` contains a character that a name may not have.
    pub fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        let made: Result<_, NameError> =
            ChannelName::new(format!("{prefix}{}!{}", self.0.process, random_text()));
        made.map_err(LayerError::Name)
    }

    /// Adds a consumer of this process, or a queue, to a group.
    ///
    /// # Errors
    /// [`LayerError::NoReceiver`], [`LayerError::TooManyGroups`], [`LayerError::TooManyQueues`].
    pub async fn add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        match self.consumer_of(channel) {
            Some((hub, key)) => {
                self.ask(hub, |reply, room| Call::Join { key, group: group.clone(), reply, room }).await?
            }
            None if self.is_foreign(channel) => Err(LayerError::NoReceiver),
            None => self.0.add_queue(group, channel),
        }
    }

    /// Takes a consumer of this process, or a queue, out of a group.
    ///
    /// # Errors
    /// None. A consumer that has gone is in no group.
    pub async fn discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        match self.consumer_of(channel) {
            Some((hub, key)) => {
                let left =
                    self.ask(hub, |reply, room| Call::Leave { key, group: group.clone(), reply, room }).await;
                debug_assert!(matches!(left, Ok(()) | Err(LayerError::NoReceiver)), "{left:?}");
            }
            None => self.0.remove_queue(group, channel),
        }
        Ok(())
    }

    /// Forgets every message and every queue of every group.
    pub fn flush(&self) {
        self.0.flush();
    }

    /// The counts of what was lost, and why.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.counters.read()
    }

    /// How many groups have members in this process.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.0.group_count()
    }

    /// How many queues hold a message or have a reader.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.0.queues.len(&self.0.counters)
    }

    /// Whether this layer made a channel with a `!`.
    ///
    /// Only this layer receives from the channel (rule 30).
    #[must_use]
    pub fn owns(&self, channel: &ChannelName) -> bool {
        is_of(&self.0.process, channel)
    }

    /// Whether a channel belongs to another process, or to another layer.
    fn is_foreign(&self, channel: &ChannelName) -> bool {
        channel.local().is_some() && !self.owns(channel)
    }

    /// The hub and key of a consumer of this process, from its channel. `None` for every other name.
    fn consumer_of(&self, channel: &ChannelName) -> Option<(u64, Key)> {
        consumer_of(&self.0.process, channel)
    }

    /// Sends a call to the hub of a consumer, and waits for the reply. The hub takes its calls in order.
    async fn ask<T>(
        &self,
        hub: u64,
        call: impl FnOnce(oneshot::Sender<T>, OwnedSemaphorePermit) -> Call,
    ) -> Result<T, LayerError> {
        let queue: Arc<HubQueue> = self.0.hub(hub).ok_or(LayerError::NoReceiver)?;
        let room = queue.request_room().await.map_err(|HubGone| LayerError::NoReceiver)?;
        let (reply, answer) = oneshot::channel();
        queue.push(call(reply, room)).map_err(|HubGone| LayerError::NoReceiver)?;
        answer.await.map_err(|_| LayerError::NoReceiver)
    }
}
