//! The layer on NATS.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{
    config::{NatsConfig, NatsConfigError},
    readers::Readers,
    shared::{Nats, NatsOperation, NatsShared, NatsSource, Place},
    subjects::{Subjects, Task},
    thread,
};
use crate::{
    ChannelName, Delivery, Envelope, EventError, GroupName,
    event::Format,
    layers::{
        Groups, LayerError,
        server::{
            ServerLayer,
            driver::{Driver, InboundSenderOf, Publication, local_first},
            layer::start,
        },
    },
};

/// The largest message that a server takes by default. It holds until the server has told its own limit.
const MAX_PAYLOAD: usize = 1 << 20;

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
        let driver = Nats {
            subjects: Subjects::new(&config.common.prefix, &groups.directory().process),
            readers: Readers::default(),
            max_payload: AtomicUsize::new(MAX_PAYLOAD),
            operations,
            settings: config.backend,
        };
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
        Ok(move || thread::run(&shared, inbox, operations))
    }

    fn operations(&self) -> &UnboundedSender<NatsOperation> {
        &self.operations
    }

    fn encode(&self, envelope: &Envelope) -> Result<Bytes, EventError> {
        envelope.to_wire(Format::MsgPack)
    }

    fn largest(&self) -> usize {
        self.max_payload.load(Relaxed)
    }

    async fn publish(
        shared: &NatsShared,
        group: &GroupName,
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let operation = |publication| {
            let Publication { group, event, reply, room, .. } = publication;
            NatsOperation::Publish { group, event, reply, place: Place::new(shared, room) }
        };
        local_first(shared, group, envelope, count, operation).await
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
                // An event that cannot be read has been counted and logged.
                if let Ok(envelope) = shared.read(&group, bytes) {
                    shared.groups.publish(&group, envelope).await;
                }
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
