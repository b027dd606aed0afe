//! The layer on NATS.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{
    config::{NatsConfig, NatsConfigError},
    log::streams::Streams,
    logged::NatsStore,
    shared::{Nats, NatsOperation, NatsShared, NatsSource, Place},
    subjects::{Subjects, Task},
    thread,
};
use crate::{
    ChannelName, Delivery, Envelope, EventError, GroupName,
    event::{Format, wire::except},
    layers::{
        Groups, LayerError,
        server::{
            ServerLayer,
            driver::{Driver, InboundSenderOf, Publication, local_first},
            layer::start,
        },
    },
};

/// Shares groups and channels with other processes by NATS, which keeps nothing.
///
/// Members in this process get an event at once, without NATS. A process has *one* subscription to a group,
/// however many members it has in the group. A [`send`](crate::Layer::send) to another process returns when
/// that process has the message. If NATS goes away and comes back, no connection ends: the layer subscribes
/// again, and consumers learn of it by a [`LayerGap`](crate::layers::LayerGap).
///
/// [NATS](crate::docs::nats) says when to take this layer, what it promises, and which subjects it uses.
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
pub type NatsLayer = ServerLayer<Nats>;

impl NatsLayer {
    /// Starts the layer. It connects by itself, now and whenever the connection is lost.
    ///
    /// # Errors
    /// [`NatsConfigError`] if a setting is invalid. A server that cannot be reached is not an error: see
    /// [`ready`](Self::ready).
    pub fn new(config: NatsConfig) -> Result<Self, NatsConfigError> {
        config.check()?;
        let groups = Groups::watched(config.common.layer.clone());
        let (operations, receiver) = unbounded_channel();
        let addresses = [config.backend.addresses()];
        let subjects = Subjects::new(&config.common.prefix, &groups.directory().process);
        let streams = Streams::new(&subjects, &config.common.layer, config.backend.jetstream);
        let driver = Nats::new(config.backend, subjects, streams, operations);
        start(config.common, groups, addresses, driver, receiver).map_err(NatsConfigError::Thread)
    }
}

impl Driver for Nats {
    type Operation = NatsOperation;
    type Source = NatsSource;
    type Over = ();

    const SERVER: &'static str = "NATS";
    const THREADS: [&'static str; 2] = ["greenroom-nats", "greenroom-nats-in"];

    fn start(
        shared: Arc<NatsShared>,
        inbox: InboundSenderOf<Self>,
        operations: UnboundedReceiver<NatsOperation>,
    ) -> io::Result<impl FnOnce() + Send + 'static> {
        let store = Arc::new(NatsStore(Arc::downgrade(&shared)));
        shared.groups.directory().logs.keep_in(store);
        Ok(move || thread::run(&shared, inbox, operations))
    }

    fn operations(&self) -> &UnboundedSender<NatsOperation> {
        &self.operations
    }

    fn ended(shared: &NatsShared, _inbox: &InboundSenderOf<Self>) {
        // Their callers learn that nobody knows.
        shared.driver.unsure().clear();
    }

    fn encode(&self, envelope: &Envelope, except: &[ChannelName]) -> Result<Bytes, EventError> {
        // Other processes need not know of this one's own channels.
        let elsewhere = except.iter().filter(|channel| !self.subjects.is_own(channel));
        except::write(Format::MsgPack, envelope.to_wire(Format::MsgPack)?, elsewhere.map(ChannelName::as_str))
    }

    fn largest(&self) -> usize {
        self.max_payload.load(Relaxed)
    }

    async fn publish(
        shared: &NatsShared,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let policy = shared.policy(group);
        if let Some(policy) = policy.filter(|_| !envelope.is_transient()) {
            return Box::pin(shared.publish_logged(policy, group, except, envelope, count)).await;
        }
        let operation = |publication| {
            let Publication { group, event, reply, room, .. } = publication;
            let place = Place::new(shared, room);
            NatsOperation::Publish { group, event, transient: policy.is_some(), reply, place }
        };
        local_first(shared, group, except, envelope, count, operation).await
    }

    async fn send(shared: &NatsShared, channel: &ChannelName, event: Bytes) -> Result<(), LayerError> {
        if channel.local().is_some() {
            return ask_owner(shared, Task::Send, channel, event).await;
        }
        ask(shared, shared.driver.subjects.channel(channel), event, channel).await
    }

    async fn receive(shared: &NatsShared, channel: &ChannelName) -> Result<Envelope, LayerError> {
        let _reader = shared.driver.readers.read(channel, shared.config.layer.channels)?;
        shared.groups.receive(channel).await
    }

    fn received_last(shared: &NatsShared, channel: &ChannelName) {
        shared.driver.readers.leave(channel);
    }

    async fn set_member(
        shared: &NatsShared,
        group: &GroupName,
        channel: &ChannelName,
        is_in: bool,
    ) -> Result<(), LayerError> {
        let group = group.clone();
        let task = if is_in { Task::Join(group) } else { Task::Leave(group) };
        match ask_owner(shared, task, channel, Bytes::new()).await {
            // A channel that has gone is in no group.
            Err(LayerError::NoReceiver) if !is_in => Ok(()),
            done => done,
        }
    }

    fn unanswered(shared: &NatsShared) -> LayerError {
        shared.lost()
    }

    async fn deliver(shared: &NatsShared, bytes: Bytes, source: NatsSource, room: OwnedSemaphorePermit) {
        match source {
            NatsSource::Group(group) => {
                let (bytes, except) = except::read(Format::MsgPack, bytes);
                // An event that cannot be read has been counted and logged.
                if let Ok(envelope) = shared.read(&group, bytes) {
                    shared
                        .groups
                        .publish_except(&group, &ChannelName::of_texts(except), envelope, false)
                        .await;
                }
            }
            NatsSource::Own(group) => shared.deliver_own(&group, bytes).await,
            NatsSource::Log { group, arrival, served } => {
                let delivery = shared.deliver_entry(&group, arrival, served.is_some()).await;
                if let Some(served) = served {
                    // This fails if the sender has gone.
                    let _ = served.send(delivery);
                }
            }
            NatsSource::Foreign { group, mark } => shared.deliver_foreign(&group, bytes, mark).await,
            NatsSource::Refill { groups, seconds } => {
                drop(room);
                shared.refill(groups, seconds).await;
            }
            NatsSource::Channel { channel, passed, to } => {
                shared.take(channel, bytes, passed, to, room).await
            }
            NatsSource::Task { subject, to } => {
                let (answer, joined) = shared.carry_out(&subject, bytes).await;
                shared.answer(to, answer, joined, room);
            }
        }
    }
}

/// Asks the owner of a channel to do something with it.
async fn ask_owner(
    shared: &NatsShared,
    task: Task,
    channel: &ChannelName,
    payload: Bytes,
) -> Result<(), LayerError> {
    match shared.driver.subjects.task(&task, channel) {
        Some(subject) => ask(shared, subject, payload, channel).await,
        None => Err(LayerError::NoReceiver),
    }
}

/// Asks the process that is subscribed to a subject, and waits for the answer.
async fn ask(
    shared: &NatsShared,
    subject: String,
    payload: Bytes,
    channel: &ChannelName,
) -> Result<(), LayerError> {
    shared.must_be_up(0)?;
    let room = shared.room_for(payload.len()).await?;
    let answer = shared.ask(|reply| NatsOperation::Ask { subject, payload, reply, room }).await?;
    answer.into_result(channel)
}
