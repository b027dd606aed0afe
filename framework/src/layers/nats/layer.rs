//! The layer on NATS.

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize, mpsc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc::unbounded_channel, oneshot, watch};

use super::{
    config::{NatsConfig, NatsConfigError},
    readers::Readers,
    shared::{Operation, Place, Shared},
    subjects::{Subjects, Task},
    thread::{self, FAREWELL},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    layers::{
        Away, ChannelLayer, Groups, Layer, LayerError,
        server::{members::Members, status::Status},
    },
};

/// The largest message that a server takes by default, until this one has said its own.
const MAX_PAYLOAD: usize = 1 << 20;

/// Groups and channels shared with other processes by NATS, which keeps nothing.
///
/// Members in this process get an event at once, without NATS; a process hears a group by *one* subscription, however many
/// members it has there. A [`send`](Layer::send) to another process returns when that has the message. Where NATS goes and
/// comes back, no connection ends: all is subscribed to anew, and consumers are told by a
/// [`LayerGap`](crate::layers::LayerGap).
///
/// [NATS](crate::docs::nats) says when to take it, what is promised, and under which subjects others find what.
///
/// ```no_run
/// use greenroom::{Layer, layers::nats::{NatsConfig, NatsLayer}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = NatsLayer::new(NatsConfig::new("nats://127.0.0.1:4222"))?;
/// layer.ready().await?;
/// let layer = Layer::new(layer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NatsLayer {
    shared: Arc<Shared>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl NatsLayer {
    /// Starts the layer. It connects by itself, now and whenever the connection is lost.
    ///
    /// # Errors
    /// [`NatsConfigError`] for a setting that cannot be used. A server that cannot be reached is none: see [`ready`](Self::ready).
    pub fn new(config: NatsConfig) -> Result<Self, NatsConfigError> {
        config.check()?;
        let groups = Groups::watched(config.layer.clone());
        let (operations, receiver) = unbounded_channel();
        let shared = Arc::new(Shared {
            subjects: Subjects::new(&config.prefix, &groups.directory().process),
            status: Status::new([config.addresses()].into_iter()),
            members: Members::default(),
            readers: Readers::default(),
            max_payload: AtomicUsize::new(MAX_PAYLOAD),
            room: Arc::new(Semaphore::new(config.queue_bytes)),
            operations,
            stop: Notify::new(),
            ended: watch::Sender::new(false),
            groups,
            config,
        });
        let end = thread::start(Arc::clone(&shared), receiver).map_err(NatsConfigError::Thread)?;
        Ok(Self { shared, end: Mutex::new(end) })
    }

    /// Waits until NATS is there: what a program asks for at its start.
    ///
    /// # Errors
    /// [`LayerError::Unavailable`] at the first attempt that fails: it says where, and why. The layer goes on trying.
    pub async fn ready(&self) -> Result<(), LayerError> {
        self.shared.status.ready().await
    }

    /// Whether NATS is there now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.is_up()
    }

    async fn publish(
        &self,
        group: &GroupName,
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let shared = &self.shared;
        let must = shared.config.away == Away::Error;
        if must && !shared.is_up() {
            return Err(shared.away());
        }
        // Made before anybody gets it: one that cannot be written reaches nobody.
        let event = shared.write(&envelope)?;
        let delivery = if count {
            shared.groups.publish_counted(group, envelope).await
        } else {
            shared.groups.publish(group, envelope).await;
            Delivery::default()
        };
        if !shared.is_up() {
            shared.counters().unpublished.one();
            return if must { Err(shared.away()) } else { Ok(delivery) };
        }
        let room = shared.room_for(event.len()).await?;
        let (reply, answer) = if must || count { Some(oneshot::channel()).unzip() } else { (None, None) };
        let place = Place::new(shared, room);
        shared.ask(Operation::Publish { group: group.clone(), event, reply, place });
        if let Some(answer) = answer {
            let done = answer.await.unwrap_or_else(|_| Err(shared.lost()));
            if must {
                done?;
            }
        }
        Ok(delivery)
    }

    /// Asks whoever hears a subject, and waits for the answer.
    async fn ask(&self, subject: String, payload: Bytes, channel: &ChannelName) -> Result<(), LayerError> {
        let shared = &self.shared;
        if !shared.is_up() {
            return Err(shared.away());
        }
        let room = shared.room_for(payload.len()).await?;
        let (reply, answer) = oneshot::channel();
        shared.ask(Operation::Ask { subject, payload, reply, room });
        answer.await.unwrap_or_else(|_| Err(shared.lost()))?.into_result(channel)
    }

    /// Asks the owner of a channel to do something with it.
    async fn ask_owner(&self, task: Task, channel: &ChannelName, payload: Bytes) -> Result<(), LayerError> {
        match self.shared.subjects.task(&task, channel) {
            Some(subject) => self.ask(subject, payload, channel).await,
            None => Err(LayerError::NoReceiver),
        }
    }

    /// Whether another process owns a channel.
    fn is_foreign(&self, channel: &ChannelName) -> bool {
        channel.local().is_some() && !self.shared.groups.owns(channel)
    }
}

#[async_trait]
impl ChannelLayer for NatsLayer {
    fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    fn joined<'a>(&'a self, group: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        if self.shared.members.is_settled(group) == Some(true) {
            return None;
        }
        Some(Box::pin(self.shared.settled(group)))
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        if channel.local().is_some() && !self.is_foreign(channel) {
            return self.shared.groups.send(channel, envelope).await;
        }
        let message = self.shared.write(&envelope)?;
        drop(envelope);
        if channel.local().is_some() {
            return self.ask_owner(Task::Send, channel, message).await;
        }
        self.ask(self.shared.subjects.channel(channel), message, channel).await
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        let shared = &self.shared;
        if channel.local().is_some() {
            return shared.groups.receive(channel).await;
        }
        let _reader = shared.readers.read(channel, shared.config.layer.channels)?;
        shared.groups.receive(channel).await
    }

    fn received_last(&self, channel: &ChannelName) {
        self.shared.readers.leave(channel);
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.shared.groups.new_channel(prefix)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        if self.is_foreign(channel) {
            return self.ask_owner(Task::Join(group.clone()), channel, Bytes::new()).await;
        }
        self.shared.groups.add(group, channel).await?;
        self.shared.settled(group).await;
        Ok(())
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        if !self.is_foreign(channel) {
            return self.shared.groups.discard(group, channel).await;
        }
        match self.ask_owner(Task::Leave(group.clone()), channel, Bytes::new()).await {
            // Who has gone is in no group.
            Err(LayerError::NoReceiver) => Ok(()),
            done => done,
        }
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
        Ok(())
    }

    async fn close(&self) {
        self.shared.stop.notify_one();
        let mut ended = self.shared.ended.subscribe();
        // It ends in its time, whatever NATS does.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for NatsLayer {
    /// Writes what is to be written, and hands on what nobody reads here any more; waits for that up to a second.
    fn drop(&mut self) {
        self.shared.stop.notify_one();
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = end.recv_timeout(FAREWELL);
    }
}

impl From<NatsLayer> for Layer {
    fn from(layer: NatsLayer) -> Self {
        Self::new(layer)
    }
}
