//! The driver's thread of the pub/sub layer. It publishes, and keeps the subscriptions.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{join, join_all},
};
use redis::{Value, aio::PubSubSink};
use tokio::{
    select,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};

use super::{
    batch::Replies,
    link::{RedisLink, flat, score},
    topics::{PubSub, PubSubOperation, PubSubOver, PubSubShared},
};
use crate::{
    ChannelName, GroupName,
    layers::server::{driver::InboundSenderOf, outage::Outage, shared::Changes},
};

/// How many publications a batch has at most, and how many topics a command.
const BATCH: usize = 512;

/// Topics that were left, with the numbers of their subscriptions.
type LeftTopics = Vec<(String, u64)>;

/// The state that the tasks of the thread share.
struct PubSubIo {
    shared: Arc<PubSubShared>,
    links: Vec<RedisLink>,
    sinks: Vec<RefCell<Option<PubSubSink>>>,
    /// For each shard, the sender of topics that were left. The task that reads ends them after all earlier
    /// messages.
    left: Vec<UnboundedSender<LeftTopics>>,
    inbox: InboundSenderOf<PubSub>,
}

/// Runs the tasks of the thread until the layer ends.
pub(super) async fn serve(
    shared: Arc<PubSubShared>,
    inbox: InboundSenderOf<PubSub>,
    operations: UnboundedReceiver<PubSubOperation>,
) {
    let links = RedisLink::all(&shared.driver.settings, shared.config.timeout);
    let sinks = links.iter().map(|_| RefCell::default()).collect();
    let (left, leaving): (Vec<_>, Vec<_>) = links.iter().map(|_| unbounded_channel()).unzip();
    let io = Rc::new(PubSubIo { shared, links, sinks, left, inbox });
    for (shard, leaving) in leaving.into_iter().enumerate() {
        let io = Rc::clone(&io);
        tokio::task::spawn_local(async move { keep_up(&io, shard, leaving).await });
    }
    select! {
        () = publish(&io, operations) => {}
        () = follow(&io) => {}
        () = io.shared.stop.notified() => {}
    }
}

/// Publishes, batch after batch.
async fn publish(io: &PubSubIo, mut operations: UnboundedReceiver<PubSubOperation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while operations.recv_many(&mut batch, BATCH).await > 0 {
        let mut commands: Vec<redis::Pipeline> = io.links.iter().map(|_| redis::pipe()).collect();
        let mut callers: Vec<Vec<_>> = io.links.iter().map(|_| Vec::new()).collect();
        let mut listens = false;
        for operation in batch.drain(..) {
            match operation {
                PubSubOperation::Listen => listens = true,
                PubSubOperation::Publish { topic, message, reply, room } => {
                    let shard = io.shared.topic_shard(&topic);
                    commands[shard].cmd("PUBLISH").arg(topic).arg(&message[..]);
                    callers[shard].push((reply, room));
                }
            }
        }
        let runs = commands.iter().zip(&io.links).map(|(commands, link)| link.run(commands));
        for (shard, (results, callers)) in join_all(runs).await.into_iter().zip(callers).enumerate() {
            let mut replies = Replies::new(&io.shared.status, shard, &commands[shard], results);
            for (caller, _room) in callers {
                let count = |reply| flat(reply).first().map_or(0, |count| score(count) as u64);
                // The caller may have gone.
                let _ = caller.send(replies.next().map(count));
            }
        }
        if listens {
            for shard in 0..io.links.len() {
                // If this fails, a new connection is made, which subscribes to all channels.
                let _ = listen(io, shard).await;
            }
        }
    }
}

/// Connects to a shard again and again, and hears its messages while it is connected.
async fn keep_up(io: &PubSubIo, shard: usize, mut leaving: UnboundedReceiver<LeftTopics>) {
    let shared = &io.shared;
    let on_shard = |group: &GroupName| shared.group_shard(group) == shard;
    let mut outage = Outage::new(&shared.status, shard);
    loop {
        let reason = match connect(io, shard).await {
            Err(reason) => reason,
            Ok(mut messages) => {
                let away = outage.found();
                // The gap is told before new messages. But if there is no room for it, messages are read
                // meanwhile, because Redis does not wait.
                let come_back = async {
                    if let Some(away) = away {
                        shared.tell_gap(&io.inbox, shared.members.groups(on_shard), away).await;
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
        shared.members.unsettle(on_shard);
        shared.heard().retain(|channel| shared.topic_shard(channel) != shard);
        // This is delivered after all messages that have come.
        io.inbox.over(PubSubOver::Shard(shard));
        outage.pause().await;
    }
}

/// Takes the messages that are published, until the connection ends. Returns why it ended.
async fn hear(
    io: &PubSubIo,
    messages: &mut redis::aio::PubSubStream,
    leaving: &mut UnboundedReceiver<LeftTopics>,
) -> String {
    loop {
        select! {
            // Messages are taken first. A topic is over only when Redis has confirmed that it was left, and
            // all earlier messages have been taken.
            biased;
            message = messages.next() => {
                let Some(message) = message else { return "the connection has ended".to_owned() };
                let topic = message.get_channel_name().to_owned();
                let bytes = Bytes::copy_from_slice(message.get_payload_bytes());
                if !io.inbox.offer(bytes.clone(), topic.clone()) {
                    // The message is dropped, because Redis would not wait, but end the connection. If a
                    // sender in this process waits for the echo, it learns that now.
                    drop(io.shared.driver.echoes.take(&topic, &bytes));
                    io.shared.counters().inbound_full.one();
                    if let Some(more) = io.shared.status.logs("inbound") {
                        tracing::warn!(more, "messages from Redis are dropped: too many wait to be delivered");
                    }
                }
            }
            Some(topics) = leaving.recv() => io.inbox.over(PubSubOver::Topics(topics)),
        }
    }
}

/// Connects to a shard, and subscribes to all topics and channels on it.
async fn connect(io: &PubSubIo, shard: usize) -> Result<redis::aio::PubSubStream, String> {
    let (shared, link) = (&io.shared, &io.links[shard]);
    let client = link.connect().await?;
    let (mut sink, messages) = link.subscriber(&client).await?.split();
    // One pattern is enough for all consumers of this process. A sender publishes to the consumer's name, on
    // any shard.
    link.within(sink.psubscribe(format!("{}*", shared.driver.process))).await?;
    io.sinks[shard].replace(Some(sink));
    let groups = shared.members.all(|group| shared.group_shard(group) == shard);
    subscribe(io, shard, &groups).await?;
    listen(io, shard).await?;
    Ok(messages)
}

/// Subscribes to the topics of groups, and wakes the callers that wait for that.
async fn subscribe(io: &PubSubIo, shard: usize, groups: &[(GroupName, u64)]) -> Result<(), String> {
    for some in groups.chunks(BATCH) {
        // Groups that have lost their last member meanwhile are left out.
        let here = some.iter().filter(|(group, _)| io.shared.members.is_settled(group).is_some());
        let topics: Vec<String> = here.map(|(group, _)| io.shared.topic(group)).collect();
        if topics.is_empty() {
            continue;
        }
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return Err("it is not connected".into()) };
        io.links[shard].within(sink.subscribe(topics)).await?;
        io.shared.members.settle(some);
    }
    Ok(())
}

/// Subscribes to the new channels.
async fn listen(io: &PubSubIo, shard: usize) -> Result<(), String> {
    let shared = &io.shared;
    let new: Vec<ChannelName> = {
        let heard = shared.heard();
        let wanted = shared.channels();
        wanted
            .iter()
            .filter(|name| shared.topic_shard(name) == shard && !heard.contains(*name))
            .cloned()
            .collect()
    };
    for some in new.chunks(BATCH) {
        let topics: Vec<&str> = some.iter().map(ChannelName::as_str).collect();
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return Err("it is not connected".into()) };
        io.links[shard].within(sink.subscribe(topics)).await?;
        shared.heard().extend(some.iter().cloned());
    }
    shared.members.changed.notify_waiters();
    Ok(())
}

/// Checks again and again that the subscribed connection works. Returns why it does not.
async fn beat(io: &PubSubIo, shard: usize) -> String {
    loop {
        sleep(io.shared.config.timeout).await;
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return "it is not connected".into() };
        if let Err(reason) = io.links[shard].within(sink.ping::<Value>()).await {
            return reason;
        }
    }
}

/// Subscribes to a group from its first member in this process to its last.
async fn follow(io: &PubSubIo) {
    let shared = &io.shared;
    loop {
        let mut joined: Vec<Vec<(GroupName, u64)>> = io.links.iter().map(|_| Vec::new()).collect();
        let mut left: Vec<LeftTopics> = io.links.iter().map(|_| Vec::new()).collect();
        let Changes { joined: first, left: last } = shared.note_changes(shared.groups.changed().await);
        for (group, number) in last {
            left[shared.group_shard(&group)].push((shared.topic(&group), number));
        }
        for (group, number) in first {
            joined[shared.group_shard(&group)].push((group, number));
        }
        for (shard, groups) in joined.iter().enumerate() {
            // If this fails, the next connection subscribes.
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
        shared.members.changed.notify_waiters();
    }
}
