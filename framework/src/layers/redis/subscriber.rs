//! The thread of the pub/sub layer: who publishes, who is subscribed, and who keeps that so.

use std::{cell::RefCell, rc::Rc, sync::Arc, thread};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{join, join_all},
};
use redis::{Pipeline, Value, aio::PubSubSink};
use tokio::{
    select,
    sync::{
        OwnedSemaphorePermit,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::LocalSet,
    time::sleep,
};

use super::{
    batch::subject,
    inbound::{self, Inbox, Over, Source},
    link::{Link, flat, score},
    outage::Outage,
    topics::{Operation, PubSub},
};
use crate::{ChannelName, GroupName, layers::LayerError};

/// How many publications make a batch, and how many topics a command.
const BATCH: usize = 512;

/// Topics that were left, with the numbers of their subscriptions.
type Left = Vec<(String, u64)>;

/// What the tasks of the thread share.
struct Io {
    layer: Arc<PubSub>,
    links: Vec<Link>,
    sinks: Vec<RefCell<Option<PubSubSink>>>,
    /// The topics that were left, for who hears: they are over when all is heard that came before.
    left: Vec<UnboundedSender<Left>>,
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
        let (last, last_inbox) = (Arc::clone(&layer), inbox.clone());
        let io = Rc::new(Io { layer, links, sinks, left, inbox });
        LocalSet::new().block_on(&runtime, serve(io, operations, leaving));
        last.end(&last_inbox);
    };
    thread::Builder::new().name("greenroom-pubsub".into()).spawn(run)?;
    Ok(())
}

async fn serve(io: Rc<Io>, operations: UnboundedReceiver<Operation>, leaving: Vec<UnboundedReceiver<Left>>) {
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
            answer(io, shard, &commands[shard], results, replies);
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

fn answer(
    io: &Io,
    shard: usize,
    commands: &Pipeline,
    results: Result<Vec<Value>, String>,
    replies: Vec<Reply>,
) {
    let address = io.layer.status.address(shard);
    let mut results = results.map(Vec::into_iter);
    for (at, (reply, _room)) in replies.into_iter().enumerate() {
        let result = match &mut results {
            Err(reason) => Err(LayerError::Unavailable(format!("{address}: {reason}"))),
            Ok(results) => match results.next() {
                Some(Value::ServerError(error)) => {
                    let why = format!("{}: {error}", subject(commands, at));
                    if let Some(more) = io.layer.status.logs("refused") {
                        tracing::warn!(address, why, more, "Redis refused a command");
                    }
                    Err(LayerError::Refused(format!("{address}: {why}")))
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
async fn keep_up(io: &Io, shard: usize, mut leaving: UnboundedReceiver<Left>) {
    let layer = &io.layer;
    let on_shard = |topic: &str| layer.shard(topic) == shard;
    let mut outage = Outage::new(&layer.status, shard);
    loop {
        let reason = match connect(io, shard).await {
            Err(reason) => reason,
            Ok(mut messages) => {
                let away = outage.found();
                // Before what comes; but where there is no room for it, Redis waits no more than for messages.
                let come_back = async {
                    if let Some(away) = away {
                        layer.counters().reconnected.one();
                        let concerned = layer.members.all(|group| on_shard(&layer.topic(group)));
                        let groups = concerned.into_iter().map(|(group, _)| group).collect();
                        io.inbox.gap(groups, away.as_secs_f64()).await;
                    }
                };
                let hear = join(come_back, hear(io, &mut messages, &mut leaving));
                select! {
                    biased;
                    ((), reason) = hear => reason,
                    reason = io.links[shard].failed() => reason,
                    reason = beat(io, shard) => reason,
                }
            }
        };
        io.links[shard].disconnect();
        io.sinks[shard].take();
        outage.lost(reason);
        layer.members.unsettle(|group| on_shard(&layer.topic(group)));
        layer.heard().retain(|channel| !on_shard(channel));
        // Behind what has come.
        io.inbox.over(Over::Shard(shard));
        outage.pause().await;
    }
}

/// Takes what is published, until the connection ends.
async fn hear(
    io: &Io,
    messages: &mut redis::aio::PubSubStream,
    leaving: &mut UnboundedReceiver<Left>,
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
    subscribe(io, shard, &groups).await?;
    listen(io, shard).await?;
    Ok(messages)
}

/// Subscribes to the topics of groups, and lets those go on who wait for it.
async fn subscribe(io: &Io, shard: usize, groups: &[(GroupName, u64)]) -> Result<(), String> {
    for some in groups.chunks(BATCH) {
        // Not those that have lost their last member while the others were subscribed to.
        let here = some.iter().filter(|(group, _)| io.layer.members.is_settled(group).is_some());
        let topics: Vec<String> = here.map(|(group, _)| io.layer.topic(group)).collect();
        if topics.is_empty() {
            continue;
        }
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
        let mut joined: Vec<Vec<(GroupName, u64)>> = io.links.iter().map(|_| Vec::new()).collect();
        let mut left: Vec<Left> = io.links.iter().map(|_| Vec::new()).collect();
        for group in layer.groups.changed().await {
            let topic = layer.topic(&group);
            let shard = layer.shard(&topic);
            if let Some(number) = layer.members.remove(&group, || layer.groups.has_members(&group)) {
                left[shard].push((topic, number));
            } else if layer.groups.has_members(&group)
                && let Some(number) = layer.members.insert(&group)
            {
                joined[shard].push((group, number));
            }
        }
        for (shard, groups) in joined.iter().enumerate() {
            // What fails is made good by the next connection.
            let _ = subscribe(io, shard, groups).await;
        }
        for (shard, left) in left.into_iter().enumerate() {
            if left.is_empty() {
                continue;
            }
            let topics: Vec<&str> = left.iter().map(|(topic, _)| topic.as_str()).collect();
            let sink = io.sinks[shard].borrow().clone();
            if let Some(mut sink) = sink {
                let _ = io.links[shard].within(sink.unsubscribe(&topics)).await;
            }
            let _ = io.left[shard].send(left);
        }
        layer.members.changed.notify_waiters();
    }
}
