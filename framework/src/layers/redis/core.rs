//! The layer that shares groups with `channels_redis.core.RedisChannelLayer`.

use std::sync::{Arc, atomic::AtomicU64, mpsc};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc::unbounded_channel, oneshot, watch};

use super::{
    config::{Host, Names, RedisConfig, RedisConfigError},
    demand::{Demand, Popped},
    names::shard_of,
    shared::{Operation, Shared, ended},
    status::Status,
    thread::{self, FAREWELL},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    layers::{Away, ChannelLayer, Groups, Layer, LayerError, server::members::Members},
};

/// Groups and queues shared with other processes by Redis, and with Django: what `channels_redis.core.RedisChannelLayer`
/// of channels_redis 4.3 writes and reads.
///
/// Members in this process get an event at once, without Redis; those elsewhere get it in two round trips. The process has
/// *one* name in each of its groups in Redis, however many members it has, unless [`names`](RedisConfig::names) says
/// otherwise. Where Redis goes and comes back, no connection
/// ends: memberships are written anew, and consumers are told by a [`LayerGap`](crate::layers::LayerGap).
///
/// [Redis](crate::docs::redis) says what is promised, and what must be the same on both sides.
///
/// ```no_run
/// use greenroom::{Layer, layers::redis::{RedisConfig, RedisLayer}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RedisLayer::new(RedisConfig::new("redis://127.0.0.1:6379/0"))?;
/// layer.ready().await?;
/// let layer = Layer::new(layer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisLayer {
    shared: Arc<Shared>,
    end: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl RedisLayer {
    /// Starts the layer. It connects by itself, now and whenever the connection is lost.
    ///
    /// # Errors
    /// [`RedisConfigError`] for a URL that cannot be used. A server that cannot be reached is none: see [`ready`](Self::ready).
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        config.check()?;
        let groups = match config.names {
            Names::Process => Groups::watched(config.layer.clone()),
            Names::Connection => Groups::watched_members(config.layer.clone()),
        };
        let (operations, receiver) = unbounded_channel();
        let shared = Arc::new(Shared {
            codec: config.core_codec(),
            status: Status::new(config.hosts.iter().map(Host::address)),
            members: Members::default(),
            told: AtomicU64::new(0),
            demand: Demand::default(),
            process: format!("specific.{}!", groups.directory().process),
            room: Arc::new(Semaphore::new(config.queue_bytes)),
            operations,
            stop: Notify::new(),
            ended: watch::Sender::new(false),
            groups,
            config,
        });
        let end = thread::start(Arc::clone(&shared), receiver).map_err(RedisConfigError::Thread)?;
        Ok(Self { shared, end: std::sync::Mutex::new(end) })
    }

    /// Waits until every server is there: what a program asks for at its start.
    ///
    /// # Errors
    /// [`LayerError::Unavailable`] at the first attempt that fails: it says where, and why. The layer goes on trying.
    pub async fn ready(&self) -> Result<(), LayerError> {
        self.shared.status.ready().await
    }

    /// Whether every server is there now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.status.all_up()
    }

    async fn publish(
        &self,
        group: &GroupName,
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let shared = &self.shared;
        let must = shared.config.away == Away::Error;
        let shard = shared.group_shard(group);
        if must && !shared.status.is_up(shard) {
            return Err(shared.status.away(shard));
        }
        // Made before anybody gets it: one that cannot be written reaches nobody.
        let event = shared.write(&envelope)?;
        let mut delivery = if count {
            shared.groups.publish_counted(group, envelope.clone()).await
        } else {
            shared.groups.publish(group, envelope.clone()).await;
            Delivery::default()
        };
        if !shared.status.is_up(shard) {
            shared.counters().unpublished.one();
            return if must { Err(shared.status.away(shard)) } else { Ok(delivery) };
        }
        let room = shared.room_for(&event).await?;
        let (reply, answer) = if must || count { Some(oneshot::channel()).unzip() } else { (None, None) };
        shared.ask(Operation::Publish { group: group.clone(), envelope, event, reply, room });
        if let Some(answer) = answer {
            match answer.await.unwrap_or_else(|_| Err(ended())) {
                Ok(elsewhere) => delivery.add(elsewhere),
                Err(error) if must => return Err(error),
                // Counted, and told as a gap.
                Err(_) => {}
            }
        }
        Ok(delivery)
    }

    /// Asks for one command, and waits for what becomes of it.
    async fn command(
        &self,
        shard: usize,
        operation: impl FnOnce(oneshot::Sender<Result<(), LayerError>>) -> Operation,
    ) -> Result<(), LayerError> {
        if !self.shared.status.is_up(shard) {
            return Err(self.shared.status.away(shard));
        }
        let (reply, answer) = oneshot::channel();
        self.shared.ask(operation(reply));
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Whether a channel is one of this process: a consumer's or a queue's.
    fn is_own(&self, channel: &ChannelName) -> bool {
        channel.local().is_some() && self.shared.groups.owns(channel)
    }
}

#[async_trait]
impl ChannelLayer for RedisLayer {
    fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    fn joined<'a>(&'a self, group: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        if self.shared.is_settled(group) {
            return None;
        }
        Some(Box::pin(self.shared.settled(group)))
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        let shared = &self.shared;
        if self.is_own(channel) {
            return shared.groups.send(channel, envelope).await;
        }
        let event = shared.write(&envelope)?;
        // What is another process' own has one shard; what is anyone's may go to any.
        let shard = channel.local().map(|_| shard_of(channel.non_local(), shared.status.len()));
        let there = match shard {
            Some(shard) => shared.status.is_up(shard),
            None => (0..shared.status.len()).any(|shard| shared.status.is_up(shard)),
        };
        if !there {
            return Err(shared.status.away(shard.unwrap_or_default()));
        }
        let room = shared.room_for(&event).await?;
        let (reply, answer) = oneshot::channel();
        shared.ask(Operation::Send { channel: channel.clone(), event, reply, room });
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        let shared = &self.shared;
        if channel.local().is_some() {
            return shared.groups.receive(channel).await;
        }
        let message = shared.demand.wait(channel, shared.config.layer.channels)?;
        let mut waiting = Waiting { shared, channel, message };
        shared.ask(Operation::Want(channel.clone()));
        (&mut waiting.message).await.map(|popped| popped.envelope).map_err(|_| ended())
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.shared.groups.new_channel(prefix)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        if self.is_own(channel) {
            self.shared.groups.add(group, channel).await?;
            self.shared.settled(group).await;
            return Ok(());
        }
        let (group, channel) = (group.clone(), channel.clone());
        let shard = self.shared.group_shard(&group);
        self.command(shard, |reply| Operation::Add { group, channel, reply }).await
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let own = self.is_own(channel);
        if own {
            self.shared.groups.discard(group, channel).await?;
        }
        // Another program may have put a consumer of this process into the group by its own name.
        let (group, channel) = (group.clone(), channel.clone());
        let shard = self.shared.group_shard(&group);
        let discarded = self.command(shard, |reply| Operation::Discard { group, channel, reply }).await;
        if own { Ok(()) } else { discarded }
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.publish(group, envelope, false).await.map(drop)
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        self.publish(group, envelope, true).await
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.shared.groups.flush();
        let (reply, answer) = oneshot::channel();
        self.shared.ask(Operation::Flush { reply });
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn close(&self) {
        self.shared.stop.notify_one();
        let mut ended = self.shared.ended.subscribe();
        // It ends in its time, whatever Redis does.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// One who waits for a message: it goes back where it came and was not taken.
struct Waiting<'a> {
    shared: &'a Shared,
    channel: &'a ChannelName,
    message: oneshot::Receiver<Popped>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.message.close();
        if let Ok(popped) = self.message.try_recv() {
            self.shared.ask(Operation::Back(popped));
        }
        self.shared.demand.tidy(self.channel);
    }
}

impl Drop for RedisLayer {
    /// Takes this process out of its groups in Redis; waits for that up to a second.
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        let end = self.end.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = end.recv_timeout(FAREWELL);
    }
}

impl From<RedisLayer> for Layer {
    fn from(layer: RedisLayer) -> Self {
        Self::new(layer)
    }
}
