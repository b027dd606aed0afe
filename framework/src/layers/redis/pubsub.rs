//! The layer that shares groups with `channels_redis.pubsub.RedisPubSubChannelLayer`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc::unbounded_channel, oneshot};

use super::{
    config::{RedisConfig, RedisConfigError},
    shared::ended,
    subscriber,
    topics::{Operation, PubSub},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    layers::{Away, ChannelLayer, Groups, Layer, LayerError},
};

/// Groups shared with other processes by Redis' publish and subscribe, and with Django: what
/// `channels_redis.pubsub.RedisPubSubChannelLayer` of channels_redis 4.3 writes and hears.
///
/// Redis keeps nothing: who does not listen misses it, and a channel that several processes read gives each message to all
/// of them. It and [`RedisLayer`](super::RedisLayer) do not hear each other. Members in this process get an event when
/// Redis sends it back: [`group_send`](Layer::group_send) waits for that.
///
/// `expiry`, `capacity` and `channel_capacity` hold for the queues of this process, `group_expiry` and
/// `random_prefix_length` for nothing.
#[derive(Debug)]
pub struct RedisPubSubLayer {
    layer: Arc<PubSub>,
}

impl RedisPubSubLayer {
    /// Starts the layer. It connects by itself, now and whenever the connection is lost.
    ///
    /// # Errors
    /// [`RedisConfigError`] for a URL that cannot be used. A server that cannot be reached is none: see [`ready`](Self::ready).
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        config.check()?;
        let groups = Groups::watched(config.layer.clone());
        let (operations, receiver) = unbounded_channel();
        let layer = Arc::new(PubSub::new(config, groups, operations));
        subscriber::start(Arc::clone(&layer), receiver).map_err(RedisConfigError::Thread)?;
        Ok(Self { layer })
    }

    /// Waits until every server is there: what a program asks for at its start.
    ///
    /// # Errors
    /// [`LayerError::Unavailable`] at the first attempt that fails: it says where, and why. The layer goes on trying.
    pub async fn ready(&self) -> Result<(), LayerError> {
        self.layer.status.ready().await
    }

    /// Whether every server is there now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.layer.status.all_up()
    }

    fn write(&self, envelope: &Envelope) -> Result<Bytes, LayerError> {
        let event = self.layer.codec.write(envelope).map_err(LayerError::Unwritable)?;
        let (size, limit) = (event.len(), self.layer.config.queue_bytes);
        if size > limit {
            return Err(LayerError::MessageTooLarge { size, limit });
        }
        self.layer.codec.frame(&event, None).map(Bytes::from).map_err(LayerError::Unwritable)
    }

    /// Publishes, waiting for room to do so.
    async fn publish(
        &self,
        topic: String,
        message: Bytes,
        reply: Option<oneshot::Sender<Result<u64, LayerError>>>,
    ) -> Result<(), LayerError> {
        let weight = (message.len() + 256).min(self.layer.config.queue_bytes) as u32;
        let room = Arc::clone(&self.layer.room).acquire_many_owned(weight).await.map_err(|_| ended())?;
        self.layer.ask(Operation::Publish { topic, message, reply, room });
        Ok(())
    }

    async fn here(&self, group: &GroupName, envelope: Envelope, count: bool) -> Delivery {
        if count {
            return self.layer.groups.publish_counted(group, envelope).await;
        }
        self.layer.groups.publish(group, envelope).await;
        Delivery::default()
    }

    async fn send_to_group(
        &self,
        group: &GroupName,
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let layer = &self.layer;
        let must = layer.config.away == Away::Error;
        let message = self.write(&envelope)?;
        let topic = layer.topic(group);
        let shard = layer.shard(&topic);
        if layer.members.is_settled(group) != Some(true) {
            self.settled(group).await;
        }
        if !layer.status.is_up(shard) {
            if must {
                return Err(layer.status.away(shard));
            }
            layer.counters().unpublished.one();
            return Ok(self.here(group, envelope, count).await);
        }
        let mut echo = None;
        if let Some(subscription) = layer.members.settled_as(group) {
            echo = Some(layer.echoes.expect(&topic, subscription, message.clone(), count));
            if layer.members.settled_as(group) != Some(subscription) {
                // The last member left meanwhile, and who waits may have been told already.
                echo = None;
            }
        }
        let (reply, answer) = oneshot::channel();
        self.publish(topic.clone(), message, Some(reply)).await?;
        let published = answer.await.unwrap_or_else(|_| Err(ended()));
        match (published, echo) {
            (Ok(subscribers), Some(echo)) => match echo.await {
                Ok(mut delivery) => {
                    if count {
                        delivery.delivered += subscribers.saturating_sub(1);
                    }
                    Ok(delivery)
                }
                // The connection that would have brought it is gone: it does not come twice.
                Err(_) => Ok(self.here(group, envelope, count).await),
            },
            (Ok(subscribers), None) => {
                let delivered = if count { subscribers } else { 0 };
                Ok(Delivery { delivered, ..Delivery::default() })
            }
            (Err(error), _) if must => Err(error),
            (Err(LayerError::Unavailable(_)), Some(echo)) => {
                layer.counters().unpublished.one();
                // It may have been published all the same, and then it comes back, unless that connection is gone too.
                match echo.await {
                    Ok(delivery) => Ok(delivery),
                    Err(_) => Ok(self.here(group, envelope, count).await),
                }
            }
            (Err(_), _) => {
                layer.counters().unpublished.one();
                Ok(self.here(group, envelope, count).await)
            }
        }
    }

    /// Waits until Redis has this process as a subscriber of a group, where it can have it.
    async fn settled(&self, group: &GroupName) {
        let layer = &self.layer;
        let shard = layer.shard(&layer.topic(group));
        let known = || layer.members.is_settled(group).unwrap_or_else(|| !layer.groups.has_members(group));
        layer.members.wait_until(&layer.status, || known() || !layer.status.is_up(shard)).await;
    }

    fn is_own(&self, channel: &ChannelName) -> bool {
        channel.local().is_some() && self.layer.groups.owns(channel)
    }
}

#[async_trait]
impl ChannelLayer for RedisPubSubLayer {
    fn groups(&self) -> &Groups {
        &self.layer.groups
    }

    fn joined<'a>(&'a self, group: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        if self.layer.members.is_settled(group) == Some(true) {
            return None;
        }
        Some(Box::pin(self.settled(group)))
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        if self.is_own(channel) {
            return self.layer.groups.send(channel, envelope).await;
        }
        let message = self.write(&envelope)?;
        let shard = self.layer.shard(channel);
        if !self.layer.status.is_up(shard) {
            return Err(self.layer.status.away(shard));
        }
        let (reply, answer) = oneshot::channel();
        self.publish(channel.to_string(), message, Some(reply)).await?;
        match answer.await.unwrap_or_else(|_| Err(ended()))? {
            0 => Err(LayerError::NoReceiver),
            _ => Ok(()),
        }
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        if channel.local().is_none() {
            self.layer.listen(channel).await?;
        }
        self.layer.groups.receive(channel).await
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.layer.groups.new_channel(prefix)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        // Groups are each process' own affair: one cannot put another's consumer into them.
        self.layer.groups.add(group, channel).await?;
        if channel.local().is_none() {
            self.layer.listen(channel).await?;
        }
        self.settled(group).await;
        Ok(())
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.layer.groups.discard(group, channel).await
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.send_to_group(group, envelope, false).await.map(drop)
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        self.send_to_group(group, envelope, true).await
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.layer.groups.flush();
        Ok(())
    }

    async fn close(&self) {
        self.layer.stop.notify_one();
        let mut ended = self.layer.ended.subscribe();
        // It ends at once, whatever Redis does.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for RedisPubSubLayer {
    /// Ends the connections: Redis then forgets the subscriptions by itself.
    fn drop(&mut self) {
        self.layer.stop.notify_one();
    }
}

impl From<RedisPubSubLayer> for Layer {
    fn from(layer: RedisPubSubLayer) -> Self {
        Self::new(layer)
    }
}
