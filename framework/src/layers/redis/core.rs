//! The layer that shares groups with `channels_redis.core.RedisChannelLayer`.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    runtime::Builder,
    sync::{
        OwnedSemaphorePermit,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::LocalSet,
};

use super::{
    codec::ReadMessage,
    config::{Names, RedisConfig, RedisConfigError},
    demand::{Demand, Popped},
    log::{
        entry::Queued,
        publish::{Logged, deliver_own},
        store::RedisLogs,
    },
    names::shard_of,
    state::{Core, CoreOperation, CoreShared, CoreSource},
    thread,
};
use crate::{
    ChannelName, Delivery, Envelope, EventError, GroupName,
    layers::{
        Groups, LayerError,
        server::{
            ServerLayer,
            driver::{Driver, InboundSenderOf, local_first},
            layer::start,
            status::ended,
        },
    },
};

/// How many members get an event at the same time.
const AT_ONCE: usize = 128;

/// Shares groups and queues with other processes, and with Django, by Redis.
///
/// It writes and reads what `channels_redis.core.RedisChannelLayer` of channels_redis 4.3 writes and reads.
/// Members in this process get an event at once, without Redis. Those in other processes get it after two
/// round trips. The process has *one* name in each of its groups in Redis, however many members it has,
/// unless [`names`](RedisConfig::names) says otherwise. If Redis goes away and comes back, no connection
/// ends: memberships are written again, and consumers learn of it by a [`LayerGap`](crate::layers::LayerGap).
///
/// [Redis](crate::docs::redis) says what the layer promises, and which settings must be the same on both
/// sides.
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
pub type RedisLayer = ServerLayer<Core>;

impl RedisLayer {
    /// Starts the layer. It connects by itself, now and whenever the connection is lost.
    ///
    /// # Errors
    /// [`RedisConfigError`] if a setting is invalid. A server that cannot be reached is not an error: see
    /// [`ready`](Self::ready).
    pub fn new(config: RedisConfig) -> Result<Self, RedisConfigError> {
        let config = config.checked()?;
        let groups = match config.backend.names {
            Names::Process => Groups::watched(config.common.layer.clone()),
            Names::Connection => Groups::watched_members(config.common.layer.clone()),
        };
        let (operations, receiver) = unbounded_channel();
        let addresses = config.addresses();
        let codec = Arc::new(config.core_codec());
        let logs = RedisLogs::start(&groups, &codec, &config.common.layer);
        let driver = Core {
            codec,
            logs,
            demand: Demand::default(),
            process: format!("specific.{}!", groups.directory().process),
            renewal: config.renewal(),
            operations,
            settings: config.backend,
        };
        start(config.common, groups, addresses, driver, receiver).map_err(RedisConfigError::Thread)
    }
}

impl Driver for Core {
    type Operation = CoreOperation;
    type Source = CoreSource;
    type Over = ();

    const SERVER: &'static str = "Redis";
    const THREADS: [&'static str; 2] = ["greenroom-redis", "greenroom-redis-in"];
    const KEEPS_MEMBERS: bool = true;

    fn start(
        shared: Arc<CoreShared>,
        inbox: InboundSenderOf<Self>,
        operations: UnboundedReceiver<CoreOperation>,
    ) -> io::Result<impl FnOnce() + Send + 'static> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(move || LocalSet::new().block_on(&runtime, thread::serve(shared, inbox, operations)))
    }

    fn operations(&self) -> &UnboundedSender<CoreOperation> {
        &self.operations
    }

    fn ended(shared: &CoreShared, _: &InboundSenderOf<Self>) {
        shared.driver.demand.end();
    }

    fn shard(shared: &CoreShared, group: &GroupName) -> usize {
        shard_of(group, shared.status.len())
    }

    fn encode(&self, envelope: &Envelope, _: &[ChannelName]) -> Result<Bytes, EventError> {
        self.codec.write(envelope)
    }

    async fn publish(
        shared: &CoreShared,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let policy = shared.config.layer.history_of(group);
        match policy.filter(|_| !envelope.is_transient()) {
            None => {
                let is_transient = policy.is_some();
                let operation = |publication| CoreOperation::Publish { publication, is_transient };
                local_first(shared, group, except, envelope, count, operation).await
            }
            Some(policy) => {
                let event = shared.write(&envelope, &[])?;
                let left_out = shared.driver.codec.leave_out(event.clone(), except);
                let sealed = shared.driver.codec.seal(&left_out.map_err(LayerError::Unwritable)?);
                let logged = Logged { group, policy, except, envelope, event, sealed, count };
                logged.publish(shared, CoreOperation::Append).await
            }
        }
    }

    async fn send(shared: &CoreShared, channel: &ChannelName, event: Bytes) -> Result<(), LayerError> {
        // A message to a channel of another process has one shard. Any shard takes a message to a channel of
        // any process.
        let shard = channel.local().map(|_| shard_of(channel.non_local(), shared.status.len()));
        match shard {
            None if (0..shared.status.len()).any(|shard| shared.status.is_up(shard)) => {}
            shard => shared.must_be_up(shard.unwrap_or_default())?,
        }
        let room = shared.room_for(event.len()).await?;
        shared.ask(|reply| CoreOperation::Send { channel: channel.clone(), event, reply, room }).await
    }

    async fn receive(shared: &CoreShared, channel: &ChannelName) -> Result<Envelope, LayerError> {
        let message = shared.driver.demand.wait(channel, shared.config.layer.channels)?;
        let mut waiting = WaitingReceive { shared, channel, message };
        shared.tell(CoreOperation::Want(channel.clone()));
        (&mut waiting.message).await.map(|popped| popped.envelope).map_err(|_| ended())
    }

    async fn set_member(
        shared: &CoreShared,
        group: &GroupName,
        channel: &ChannelName,
        is_in: bool,
    ) -> Result<(), LayerError> {
        shared.must_be_up(shared.group_shard(group))?;
        let (group, channel) = (group.clone(), channel.clone());
        shared.ask(|reply| CoreOperation::Member { group, channel, is_in, reply }).await
    }

    async fn flush(shared: &CoreShared) -> Result<(), LayerError> {
        shared.ask(|reply| CoreOperation::Flush { reply }).await
    }

    async fn deliver(shared: &CoreShared, bytes: Bytes, source: CoreSource, _room: OwnedSemaphorePermit) {
        let sent = match source {
            CoreSource::Own(settled) => {
                return deliver_own(shared, *settled).await;
            }
            CoreSource::Queue(sent) => sent,
        };
        let size = bytes.len();
        // An entry of a log is no less worth for its age.
        let queued = Queued::read(bytes);
        if shared.has_expired(sent) && !matches!(queued, Queued::Logged { .. }) {
            return shared.counters().expired.one();
        }
        let (place, is_foreign, message) = match queued {
            Queued::Logged { group, place, message } => (Some((group, place)), false, message),
            Queued::Plain(message) => (None, true, message),
            Queued::Transient(message) => (None, false, message),
        };
        let ReadMessage { envelope, to, except } = match shared.driver.codec.read(message) {
            Err(error) => return shared.log_undecodable(&shared.driver.process, &error),
            Ok(message) if message.to.is_empty() => return shared.counters().stray.one(),
            Ok(message) => message,
        };
        if let Some((group, place)) = place {
            return shared.deliver_logged(&group, place, ReadMessage { envelope, to, except }, size).await;
        }
        let mark = is_foreign.then_some(sent);
        // The members wait side by side if their inboxes are full. The next message comes after all
        // have got this one.
        for some in to.chunks(AT_ONCE) {
            let deliver = |name| shared.deliver(name, envelope.clone(), &except, mark);
            join_all(some.iter().map(|name: &String| deliver(name))).await;
        }
    }
}

/// A caller that waits for a message. If it gives up, a message that it did not take goes back to Redis.
struct WaitingReceive<'a> {
    shared: &'a CoreShared,
    channel: &'a ChannelName,
    message: oneshot::Receiver<Popped>,
}

impl Drop for WaitingReceive<'_> {
    fn drop(&mut self) {
        self.message.close();
        if let Ok(popped) = self.message.try_recv() {
            self.shared.tell(CoreOperation::Back(popped));
        }
        self.shared.driver.demand.tidy(self.channel);
    }
}
