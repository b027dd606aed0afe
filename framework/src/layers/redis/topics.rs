//! The thread of the pub/sub layer: who publishes, who is subscribed, and who keeps that so.

use std::{
    cell::RefCell,
    collections::HashSet,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use redis::{Value, aio::PubSubSink};
use tokio::{
    select,
    sync::{
        Notify, OwnedSemaphorePermit, Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::LocalSet,
    time::{Instant, sleep},
};

use super::{
    codec::Codec,
    config::{Host, RedisConfig},
    echoes::Echoes,
    inbound::{self, Deliver, Inbox, Over, Source, log_undecodable},
    link::{Link, flat, score},
    members::Members,
    names::{group_topic, shard_of},
    status::Status,
};
use crate::{
    ChannelName, Delivery, GroupName,
    layers::{Groups, LayerError},
    metrics::Counters,
};

/// How many publications make a batch, and how many topics a command.
const BATCH: usize = 512;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The state of one [`RedisPubSubLayer`](super::RedisPubSubLayer).
#[derive(Debug)]
pub(super) struct PubSub {
    pub(super) config: RedisConfig,
    pub(super) codec: Codec,
    pub(super) groups: Groups,
    pub(super) status: Status,
    pub(super) members: Members,
    pub(super) echoes: Echoes,
    /// The channels of any process that somebody here has read or put into a group. They stay: what comes between two
    /// `receive` would be lost.
    channels: Mutex<HashSet<ChannelName>>,
    /// Those of them that are subscribed to.
    heard: Mutex<HashSet<ChannelName>>,
    /// `specific.<process>!`.
    pub(super) process: String,
    pub(super) room: Arc<Semaphore>,
    pub(super) operations: UnboundedSender<Operation>,
    pub(super) stop: Notify,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Operation {
    Publish {
        topic: String,
        message: Bytes,
        /// To how many subscribers it went.
        reply: Option<oneshot::Sender<Result<u64, LayerError>>>,
        room: OwnedSemaphorePermit,
    },
    /// Subscribe to what is new in `channels`.
    Listen,
}

impl PubSub {
    pub(super) fn new(config: RedisConfig, groups: Groups, operations: UnboundedSender<Operation>) -> Self {
        Self {
            codec: config.pubsub_codec(),
            status: Status::new(config.hosts.iter().map(Host::address)),
            members: Members::default(),
            echoes: Echoes::default(),
            channels: Mutex::default(),
            heard: Mutex::default(),
            process: format!("specific.{}!", groups.directory().process),
            room: Arc::new(Semaphore::new(config.queue_bytes)),
            stop: Notify::new(),
            operations,
            groups,
            config,
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.groups.directory().counters
    }

    pub(super) fn topic(&self, group: &GroupName) -> String {
        group_topic(&self.config.prefix, group)
    }

    pub(super) fn shard(&self, topic: &str) -> usize {
        shard_of(topic, self.status.len())
    }

    pub(super) fn ask(&self, operation: Operation) {
        // The thread ends with the layer; who waits for a reply then learns that.
        let _ = self.operations.send(operation);
    }

    fn channels(&self) -> MutexGuard<'_, HashSet<ChannelName>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, HashSet<ChannelName>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to a channel of any process from now on; waits until that is so, where it can be.
    pub(super) async fn listen(&self, channel: &ChannelName) -> Result<(), LayerError> {
        if !self.channels().contains(channel) {
            let limit = self.config.layer.channels;
            let mut channels = self.channels();
            if channels.len() >= limit {
                return Err(LayerError::TooManyChannels { limit });
            }
            channels.insert(channel.clone());
        }
        if !self.heard().contains(channel) {
            self.ask(Operation::Listen);
        }
        loop {
            let mut members = std::pin::pin!(self.members.changed.notified());
            let mut status = std::pin::pin!(self.status.changed.notified());
            members.as_mut().enable();
            status.as_mut().enable();
            if self.heard().contains(channel) || !self.status.is_up(self.shard(channel)) {
                return Ok(());
            }
            futures_util::future::select(members, status).await;
        }
    }
}

impl Deliver for PubSub {
    type Source = Source;
    type Over = Over;

    async fn message(&self, bytes: Bytes, source: Source, _room: OwnedSemaphorePermit) {
        let Source::Topic(topic) = source else { return };
        let echo = self.echoes.take(&topic, &bytes);
        let envelope = match self.codec.read(bytes) {
            Ok((envelope, _)) => envelope,
            Err(error) => return log_undecodable(&self.status, self.counters(), &topic, &error),
        };
        let prefix = group_topic(&self.config.prefix, "");
        let group = topic.strip_prefix(&prefix).and_then(|name| GroupName::new(name).ok());
        let delivery = match (group, ChannelName::new(&topic)) {
            (Some(group), _) if echo.as_ref().is_some_and(|echo| echo.count) => {
                self.groups.publish_counted(&group, envelope).await
            }
            (Some(group), _) => {
                self.groups.publish(&group, envelope).await;
                Delivery::default()
            }
            (None, Ok(channel)) => {
                // A full inbox or queue has counted itself.
                if let Err(LayerError::NoReceiver) = self.groups.send(&channel, envelope).await {
                    self.counters().stray.one();
                }
                Delivery::default()
            }
            (None, Err(_)) => return self.counters().stray.one(),
        };
        if let Some(echo) = echo {
            // Who sent it may have given up.
            let _ = echo.heard.send(delivery);
        }
    }

    fn over(&self, over: Over) {
        match over {
            Over::Shard(shard) => self.echoes.lose(|topic| self.shard(topic) == shard),
            Over::Topics(topics) => self.echoes.leave(&topics),
        }
    }

    fn groups(&self) -> &Groups {
        &self.groups
    }
}

/// What the tasks of the thread share.
struct Io {
    layer: Arc<PubSub>,
    links: Vec<Link>,
    sinks: Vec<RefCell<Option<PubSubSink>>>,
    /// The topics that were left, for who hears: they are over when all is heard that came before.
    left: Vec<UnboundedSender<Vec<String>>>,
    inbox: Inbox,
}

/// Starts the threads of a layer.
pub(super) fn start(layer: Arc<PubSub>, operations: UnboundedReceiver<Operation>) -> std::io::Result<()> {
    let (inbox, inbound) = Inbox::new(layer.config.queue_bytes);
    inbound::start("greenroom-redis-in", Arc::clone(&layer), inbound)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        let config = &layer.config;
        let links: Vec<Link> = config.hosts.iter().map(|host| Link::new(host, config)).collect();
        let sinks = links.iter().map(|_| RefCell::default()).collect();
        let (left, leaving): (Vec<_>, Vec<_>) = links.iter().map(|_| unbounded_channel()).unzip();
        let io = Rc::new(Io { layer, links, sinks, left, inbox });
        LocalSet::new().block_on(&runtime, serve(io, operations, leaving));
    };
    thread::Builder::new().name("greenroom-pubsub".into()).spawn(run)?;
    Ok(())
}

async fn serve(
    io: Rc<Io>,
    operations: UnboundedReceiver<Operation>,
    leaving: Vec<UnboundedReceiver<Vec<String>>>,
) {
    for (shard, leaving) in leaving.into_iter().enumerate() {
        let io = Rc::clone(&io);
        tokio::task::spawn_local(async move { keep_up(&io, shard, leaving).await });
    }
    select! {
        () = publish(&io, operations) => {}
        () = follow(&io) => {}
        () = io.layer.stop.notified() => {}
    }
}

/// Publishes, batch after batch.
async fn publish(io: &Io, mut operations: UnboundedReceiver<Operation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while operations.recv_many(&mut batch, BATCH).await > 0 {
        let mut commands: Vec<redis::Pipeline> = io.links.iter().map(|_| redis::pipe()).collect();
        let mut replies: Vec<Vec<_>> = io.links.iter().map(|_| Vec::new()).collect();
        let mut listens = false;
        for operation in batch.drain(..) {
            match operation {
                Operation::Listen => listens = true,
                Operation::Publish { topic, message, reply, room } => {
                    let shard = io.layer.shard(&topic);
                    commands[shard].cmd("PUBLISH").arg(topic).arg(&message[..]);
                    replies[shard].push((reply, room));
                }
            }
        }
        let runs = commands.iter().zip(&io.links).map(|(commands, link)| link.run(commands));
        for (shard, (results, replies)) in join_all(runs).await.into_iter().zip(replies).enumerate() {
            answer(io, shard, results, replies);
        }
        if listens {
            for shard in 0..io.links.len() {
                // Where it fails, the connection is made anew, and all subscribed to.
                let _ = listen(io, shard).await;
            }
        }
    }
}

type Reply = (Option<oneshot::Sender<Result<u64, LayerError>>>, OwnedSemaphorePermit);

fn answer(io: &Io, shard: usize, results: Result<Vec<Value>, String>, replies: Vec<Reply>) {
    let address = io.layer.status.address(shard);
    let mut results = results.map(Vec::into_iter);
    for (reply, _room) in replies {
        let result = match &mut results {
            Err(reason) => Err(LayerError::Unavailable(format!("{address}: {reason}"))),
            Ok(results) => match results.next() {
                Some(Value::ServerError(error)) => {
                    if let Some(more) = io.layer.status.logs("refused") {
                        tracing::warn!(address, %error, more, "Redis refused to publish");
                    }
                    Err(LayerError::Refused(format!("{address}: {error}")))
                }
                Some(count) => Ok(flat(count).first().map_or(0, |count| score(count) as u64)),
                None => Err(LayerError::Refused("an answer is missing".into())),
            },
        };
        match reply {
            // Who asked may have gone.
            Some(reply) => drop(reply.send(result)),
            None if result.is_err() => io.layer.counters().unpublished.one(),
            None => {}
        }
    }
}

/// Keeps a shard connected and subscribed for ever.
async fn keep_up(io: &Io, shard: usize, mut leaving: UnboundedReceiver<Vec<String>>) {
    let layer = &io.layer;
    let address = layer.status.address(shard);
    let on_shard = |topic: &str| layer.shard(topic) == shard;
    let mut pause = FIRST_PAUSE;
    let mut lost: Option<Instant> = None;
    loop {
        let reason = match connect(io, shard).await {
            Err(reason) => reason,
            Ok(mut messages) => {
                layer.status.set_up(shard);
                pause = FIRST_PAUSE;
                if let Some(lost) = lost {
                    let away = lost.elapsed();
                    tracing::info!(address, ?away, "Redis is back");
                    layer.counters().reconnected.one();
                    let concerned = layer.members.all(|group| on_shard(&layer.topic(group)));
                    let groups = concerned.into_iter().map(|(group, _)| group).collect();
                    io.inbox.gap(groups, away.as_secs_f64());
                }
                let hear = hear(io, &mut messages, &mut leaving);
                let reason = select! {
                    reason = hear => reason,
                    reason = io.links[shard].failed() => reason,
                    reason = beat(io, shard) => reason,
                };
                lost = Some(Instant::now());
                reason
            }
        };
        io.links[shard].disconnect();
        io.sinks[shard].take();
        if layer.status.set_away(shard, reason.clone()) {
            tracing::warn!(address, reason, "Redis is away");
        }
        layer.members.unsettle(|group| on_shard(&layer.topic(group)));
        layer.heard().retain(|channel| !on_shard(channel));
        // Behind what has come.
        io.inbox.over(Over::Shard(shard));
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Takes what is published, until the connection ends.
async fn hear(
    io: &Io,
    messages: &mut redis::aio::PubSubStream,
    leaving: &mut UnboundedReceiver<Vec<String>>,
) -> String {
    loop {
        select! {
            // First what has come: a topic is over when Redis has confirmed that, and what came before is taken.
            biased;
            message = messages.next() => {
                let Some(message) = message else { return "the connection has ended".to_owned() };
                let topic = message.get_channel_name().to_owned();
                let bytes = Bytes::copy_from_slice(message.get_payload_bytes());
                if !io.inbox.offer(bytes.clone(), Source::Topic(topic.clone())) {
                    // Redis waits for nobody here: it would end the connection instead. Who sent it from here does.
                    drop(io.layer.echoes.take(&topic, &bytes));
                    io.layer.counters().inbound_full.one();
                    if let Some(more) = io.layer.status.logs("inbound") {
                        tracing::warn!(more, "messages of Redis are dropped: too many wait to be delivered");
                    }
                }
            }
            Some(topics) = leaving.recv() => io.inbox.over(Over::Topics(topics)),
        }
    }
}

/// Connects to a shard, and subscribes to all that is wanted of it.
async fn connect(io: &Io, shard: usize) -> Result<redis::aio::PubSubStream, String> {
    let (layer, link) = (&io.layer, &io.links[shard]);
    let client = link.connect().await?;
    let (mut sink, messages) = link.subscriber(&client).await?.split();
    // One pattern for all consumers of this process: whoever sends to one writes its name, on any shard.
    link.within(sink.psubscribe(format!("{}*", layer.process))).await?;
    io.sinks[shard].replace(Some(sink));
    let groups = layer.members.all(|group| layer.shard(&layer.topic(group)) == shard);
    let groups: Vec<GroupName> = groups.into_iter().map(|(group, _)| group).collect();
    subscribe(io, shard, &groups).await?;
    listen(io, shard).await?;
    Ok(messages)
}

/// Subscribes to the topics of groups, and lets those go on who wait for it.
async fn subscribe(io: &Io, shard: usize, groups: &[GroupName]) -> Result<(), String> {
    for some in groups.chunks(BATCH) {
        let topics: Vec<String> = some.iter().map(|group| io.layer.topic(group)).collect();
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return Err("there is no connection".into()) };
        io.links[shard].within(sink.subscribe(topics)).await?;
        io.layer.members.settle(some);
    }
    Ok(())
}

/// Subscribes to the channels that are new.
async fn listen(io: &Io, shard: usize) -> Result<(), String> {
    let layer = &io.layer;
    let new: Vec<ChannelName> = {
        let heard = layer.heard();
        let wanted = layer.channels();
        wanted.iter().filter(|name| layer.shard(name) == shard && !heard.contains(*name)).cloned().collect()
    };
    for some in new.chunks(BATCH) {
        let topics: Vec<&str> = some.iter().map(ChannelName::as_str).collect();
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return Err("there is no connection".into()) };
        io.links[shard].within(sink.subscribe(topics)).await?;
        layer.heard().extend(some.iter().cloned());
    }
    layer.members.changed.notify_waiters();
    Ok(())
}

/// Shows now and then that the connection that hears lives; says why where it does not.
async fn beat(io: &Io, shard: usize) -> String {
    loop {
        sleep(io.layer.config.timeout).await;
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return "there is no connection".into() };
        if let Err(reason) = io.links[shard].within(sink.ping::<Value>()).await {
            return reason;
        }
    }
}

/// Subscribes to a group with its first member here, and no more after its last.
async fn follow(io: &Io) {
    let layer = &io.layer;
    loop {
        let mut joined: Vec<Vec<GroupName>> = io.links.iter().map(|_| Vec::new()).collect();
        let mut left: Vec<Vec<String>> = io.links.iter().map(|_| Vec::new()).collect();
        for group in layer.groups.changed().await {
            let topic = layer.topic(&group);
            let shard = layer.shard(&topic);
            if layer.groups.has_members(&group) {
                if layer.members.insert(&group).is_some() {
                    joined[shard].push(group);
                }
            } else if layer.members.remove(&group).is_some() {
                left[shard].push(topic);
            }
        }
        for (shard, groups) in joined.iter().enumerate() {
            // What fails is made good by the next connection.
            let _ = subscribe(io, shard, groups).await;
        }
        for (shard, topics) in left.into_iter().enumerate() {
            if topics.is_empty() {
                continue;
            }
            let sink = io.sinks[shard].borrow().clone();
            if let Some(mut sink) = sink {
                let _ = io.links[shard].within(sink.unsubscribe(&topics)).await;
            }
            let _ = io.left[shard].send(topics);
        }
        layer.members.changed.notify_waiters();
    }
}
