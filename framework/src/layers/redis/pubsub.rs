//! The layer that shares groups with `channels_redis.pubsub.RedisPubSubChannelLayer`.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Builder,
    sync::{
        OwnedSemaphorePermit,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::LocalSet,
};

use super::{
    codec::ReadMessage,
    config::{RedisConfig, RedisConfigError},
    echoes::Echoes,
    leaving::Leaving,
    listening::{Listening, Mark},
    log::{
        append::Appending,
        entry::{Notice, Place},
        publish::{Logged, bring, deliver_own},
        store::RedisLogs,
    },
    subscriber,
    topics::{PubSub, PubSubOperation, PubSubOver, PubSubShared, PubSubSource},
};
use crate::{
    ChannelName, Delivery, Envelope, EventError, GroupName,
    groups::history::policy::History,
    layers::{
        Away, Groups, LayerError,
        server::{
            ServerLayer,
            driver::{Driver, InboundSenderOf},
            layer::start,
        },
    },
};

/// Shares groups with other processes, and with Django, by Redis' pub/sub.
///
/// It writes and hears what `channels_redis.pubsub.RedisPubSubChannelLayer` of channels_redis 4.3 writes and
/// hears. Redis keeps nothing: a process that is not connected misses the messages, and if several processes
/// read a channel, each of them gets every message. This layer and [`RedisLayer`](super::RedisLayer) do not
/// hear each other. Members in this process get an event when Redis sends it back, and
/// [`group_send`](crate::Layer::group_send) waits for that.
///
/// `expiry`, `capacity` and `channel_capacity` hold for the queues of this process. `group_expiry` and
/// `random_prefix_length` are ignored.
pub type RedisPubSubLayer = ServerLayer<PubSub>;

impl RedisPubSubLayer {
    /// Starts the layer. It connects by itself, now and whenever the connection is lost.
    ///
    /// # Errors
    /// [`RedisConfigError`] if a setting is invalid. A server that cannot be reached is not an error: see
    /// [`ready`](Self::ready).
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        let config = config.checked()?;
        let groups = Groups::watched(config.common.layer.clone());
        let (operations, receiver) = unbounded_channel();
        let addresses = config.addresses();
        let codec = Arc::new(config.pubsub_codec());
        let logs = RedisLogs::start(&groups, &codec, &config.common.layer);
        let driver = PubSub {
            codec,
            logs,
            counted: Arc::default(),
            listening: Listening::default(),
            echoes: Echoes::default(),
            leaving: Leaving::default(),
            channels: Mutex::default(),
            heard: Mutex::default(),
            process: format!("specific.{}!", groups.directory().process),
            operations,
            settings: config.backend,
        };
        start(config.common, groups, addresses, driver, receiver).map_err(RedisConfigError::Thread)
    }
}

impl Driver for PubSub {
    type Operation = PubSubOperation;
    type Source = PubSubSource;
    type Over = PubSubOver;

    const SERVER: &'static str = "Redis";
    const THREADS: [&'static str; 2] = ["greenroom-pubsub", "greenroom-redis-in"];
    // Redis drops the subscriptions by itself when the connections end.
    const FAREWELL: Duration = Duration::ZERO;

    fn start(
        shared: Arc<PubSubShared>,
        inbox: InboundSenderOf<Self>,
        operations: UnboundedReceiver<PubSubOperation>,
    ) -> io::Result<impl FnOnce() + Send + 'static> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(move || LocalSet::new().block_on(&runtime, subscriber::serve(shared, inbox, operations)))
    }

    fn operations(&self) -> &UnboundedSender<PubSubOperation> {
        &self.operations
    }

    fn ended(shared: &PubSubShared, inbox: &InboundSenderOf<Self>) {
        // The order matters: a caller that begins to wait for an echo after this sees that none will come.
        shared.members.unsettle(|_| true);
        for shard in 0..shared.status.len() {
            inbox.over(PubSubOver::Shard(shard));
        }
    }

    fn shard(shared: &PubSubShared, group: &GroupName) -> usize {
        shared.topic_shard(&shared.topic(group))
    }

    fn encode(&self, envelope: &Envelope, except: &[ChannelName]) -> Result<Bytes, EventError> {
        self.codec.leave_out(self.codec.write(envelope)?, except)
    }

    async fn publish(
        shared: &PubSubShared,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let policy = shared.config.layer.history_of(group);
        if let Some(policy) = policy.filter(|_| !envelope.is_transient()) {
            return append(shared, policy, group, except, envelope, count).await;
        }
        let must = shared.config.away == Away::Error;
        let message = framed(shared, &shared.write(&envelope, except)?)?;
        let topic = shared.topic(group);
        let shard = shared.topic_shard(&topic);
        if !shared.is_settled(group) {
            shared.settled(group).await;
        }
        if count {
            shared.countable(group).await;
        }
        if let Err(away) = shared.must_be_up(shard) {
            if must {
                return Err(away);
            }
            shared.counters().unpublished.one();
            return Ok(shared.serve_here(group, except, envelope, count).await);
        }
        let mut echo = None;
        if let Some(subscription) = shared.members.settled_as(group) {
            echo = Some(shared.driver.echoes.expect(&topic, subscription, message.clone(), count));
            if shared.members.settled_as(group) != Some(subscription) {
                // The last member left meanwhile, and the waiting may have been ended already.
                echo = None;
            }
        }
        if count && echo.is_none() {
            shared.countable(group).await;
        }
        let beside = policy.map(|_| shared.side_topic(group));
        let published = put(shared, topic, beside, message).await;
        match (published, echo) {
            (Ok(subscribers), Some(echo)) => match echo.await {
                Ok(mut delivery) => {
                    if count {
                        delivery.delivered += subscribers.saturating_sub(1);
                    }
                    Ok(delivery)
                }
                // The connection that would have brought the echo is lost, so the members do not get the
                // event twice.
                Err(_) => Ok(shared.serve_here(group, except, envelope, count).await),
            },
            (Ok(subscribers), None) => {
                let delivered = if count { subscribers } else { 0 };
                Ok(Delivery { delivered, ..Delivery::default() })
            }
            (Err(error), _) if must => Err(error),
            (Err(LayerError::Unavailable(_)), Some(echo)) => {
                shared.counters().unpublished.one();
                // The message may have been published all the same. Then it comes back, unless that
                // connection is lost too.
                match echo.await {
                    Ok(delivery) => Ok(delivery),
                    Err(_) => Ok(shared.serve_here(group, except, envelope, count).await),
                }
            }
            (Err(_), _) => {
                shared.counters().unpublished.one();
                Ok(shared.serve_here(group, except, envelope, count).await)
            }
        }
    }

    async fn send(shared: &PubSubShared, channel: &ChannelName, event: Bytes) -> Result<(), LayerError> {
        let message = framed(shared, &event)?;
        shared.must_be_up(shared.topic_shard(channel))?;
        match put(shared, channel.to_string(), None, message).await? {
            0 => Err(LayerError::NoReceiver),
            _ => Ok(()),
        }
    }

    async fn receive(shared: &PubSubShared, channel: &ChannelName) -> Result<Envelope, LayerError> {
        shared.listen(channel).await?;
        shared.groups.receive(channel).await
    }

    async fn added(shared: &PubSubShared, channel: &ChannelName) -> Result<(), LayerError> {
        if channel.local().is_none() { shared.listen(channel).await } else { Ok(()) }
    }

    async fn deliver(shared: &PubSubShared, bytes: Bytes, source: PubSubSource, _room: OwnedSemaphorePermit) {
        let (topic, notice) = match source {
            PubSubSource::Own(settled) => {
                return deliver_own(shared, *settled).await;
            }
            PubSubSource::Listens(group, number) => return shared.driver.listening.joined(group, number),
            PubSubSource::Topic(topic, notice) => (topic, notice),
        };
        let echo = shared.echo(&topic, &bytes, notice);
        let (envelope, except) = match shared.driver.codec.read(bytes) {
            Ok(ReadMessage { envelope, except, .. }) => (envelope, except),
            Err(error) => return shared.log_undecodable(&topic, &error),
        };
        let group = shared.group_of(&topic);
        if let (Some(group), Some(Notice::Logged(place))) = (&group, notice) {
            return deliver_logged(shared, group, place, except, envelope).await;
        }
        let delivery = match (group, ChannelName::new(&topic)) {
            (Some(group), _) if notice.is_none() && shared.has_log(&group) => {
                deliver_foreign(shared, &group, &except, envelope).await;
                Delivery::default()
            }
            (Some(group), _) => {
                let count = echo.as_ref().is_some_and(|echo| echo.count);
                shared.serve_here(&group, &except, envelope, count).await
            }
            (None, Ok(channel)) => {
                // A full inbox or queue has counted the loss itself.
                if let Err(LayerError::NoReceiver) = shared.groups.send(&channel, envelope).await {
                    shared.counters().stray.one();
                }
                Delivery::default()
            }
            (None, Err(_)) => return shared.counters().stray.one(),
        };
        if let Some(echo) = echo {
            // The sender may have given up.
            let _ = echo.heard.send(delivery);
        }
    }

    fn over(shared: &PubSubShared, over: PubSubOver) {
        let PubSub { echoes, listening, .. } = &shared.driver;
        match over {
            PubSubOver::Shard(shard) => {
                echoes.lose(|topic| shared.topic_shard(topic) == shard);
                listening.forget_all(|group| shared.group_shard(group) == shard);
            }
            PubSubOver::Topics(topics) => {
                echoes.leave(&topics);
                for group in topics.iter().filter_map(|(topic, _)| shared.group_of(topic)) {
                    // If it has got members again, this process joins the counting again at the next event.
                    listening.forget(&group);
                }
            }
        }
    }
}

/// Hands an entry of a log to the members here.
async fn deliver_logged(
    shared: &PubSubShared,
    group: &GroupName,
    place: Place,
    except: Vec<ChannelName>,
    envelope: Envelope,
) {
    let (tag, counted) = (place.at.tag, Arc::clone(&shared.driver.counted));
    let count = counted.is_expected(tag);
    let done = move |delivery| {
        if count {
            counted.note(tag, delivery);
        }
    };
    bring(shared.groups.directory(), group, place, except, envelope, count, done).await;
}

/// Hands an event of another program to the members here.
async fn deliver_foreign(
    shared: &PubSubShared,
    group: &GroupName,
    except: &[ChannelName],
    envelope: Envelope,
) {
    let Mark { mark, is_due } = shared.driver.listening.next(group);
    if is_due {
        shared.tell(PubSubOperation::Listens(group.clone()));
    }
    let directory = shared.groups.directory();
    match mark {
        Some(mark) => {
            let mark = directory.publish_foreign(group, except, envelope, mark).await;
            shared.driver.logs.note(group, mark);
        }
        // What the members know of such events stays older than the mark that comes with the joining.
        None => drop(shared.groups.publish_except(group, except, envelope, false).await),
    }
}

/// Makes the message that is published, from the event's bytes.
fn framed(shared: &PubSubShared, event: &Bytes) -> Result<Bytes, LayerError> {
    shared.driver.codec.frame(event, None).map(Bytes::from).map_err(LayerError::Unwritable)
}

/// Waits for room, publishes a message, and returns how many subscribers it reached.
async fn put(
    shared: &PubSubShared,
    topic: String,
    beside: Option<String>,
    message: Bytes,
) -> Result<u64, LayerError> {
    let room = shared.room_for(message.len()).await?;
    shared.ask(|reply| PubSubOperation::Publish { topic, beside, message, reply, room }).await
}

/// Sends an event to a group with a log.
async fn append(
    shared: &PubSubShared,
    policy: History,
    group: &GroupName,
    except: &[ChannelName],
    envelope: Envelope,
    count: bool,
) -> Result<Delivery, LayerError> {
    let event = shared.write(&envelope, except)?;
    let sealed = framed(shared, &event)?;
    if !shared.is_settled(group) {
        shared.settled(group).await;
    }
    if count {
        shared.countable(group).await;
    }
    let logged = Logged { group, policy, except, envelope, event: Bytes::new(), sealed, count };
    let operation = |mut appending: Box<Appending>, room| {
        appending.is_heard = shared.members.settled_as(&appending.group).is_some();
        if appending.count {
            shared.driver.counted.expect(appending.tag);
        }
        PubSubOperation::Append(appending, room)
    };
    logged.publish(shared, operation).await
}
