//! The driver's thread of the pub/sub layer. It publishes, and keeps the subscriptions.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, future::join};
use redis::{Value, aio::PubSubSink};
use tokio::{
    select,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};

use super::{
    link::RedisLink,
    log::{self, entry::Notice, linked::LogState},
    publisher::Caller,
    topics::{PubSub, PubSubOperation, PubSubOver, PubSubShared, PubSubSource},
};
use crate::{
    ChannelName, GroupName,
    layers::server::{driver::InboundSenderOf, outage::Outage, shared::Changes},
};

/// How many publications a batch has at most, and how many topics a command.
const BATCH: usize = 512;

/// A topic that nobody hears.
const PROBE: &str = "greenroom:probe";

/// Topics that were left, with the numbers of their subscriptions.
type LeftTopics = Vec<(String, u64)>;

/// The state that the tasks of the thread share.
pub(super) struct PubSubIo {
    pub(super) shared: Arc<PubSubShared>,
    pub(super) links: Vec<RedisLink>,
    sinks: Vec<RefCell<Option<PubSubSink>>>,
    /// For each shard, the sender of topics that were left. The task that reads ends them after all earlier
    /// messages.
    left: Vec<UnboundedSender<LeftTopics>>,
    pub(super) inbox: InboundSenderOf<PubSub>,
    pub(super) logs: LogState,
}

/// Runs the tasks of the thread until the layer ends.
pub(super) async fn serve(
    shared: Arc<PubSubShared>,
    inbox: InboundSenderOf<PubSub>,
    operations: UnboundedReceiver<PubSubOperation>,
) {
    // The command is refused as long as nothing can be published. Nobody hears it.
    let mut probe = redis::cmd("PUBLISH");
    probe.arg(PROBE).arg("");
    let links = RedisLink::all(&shared.driver.settings, shared.config.timeout, &probe);
    let sinks = links.iter().map(|_| RefCell::default()).collect();
    let (left, leaving): (Vec<_>, Vec<_>) = links.iter().map(|_| unbounded_channel()).unzip();
    let logs = LogState::new(links.len());
    let io = Rc::new(PubSubIo { shared, links, sinks, left, inbox, logs });
    log::thread::start(&io);
    // Each shard has tasks of its own, so that a shard which hangs holds up no other.
    let (mut publishers, mut followers) = (Vec::new(), Vec::new());
    for (shard, leaving) in leaving.into_iter().enumerate() {
        let ((to_publish, publications), (to_follow, changes)) = (unbounded_channel(), unbounded_channel());
        publishers.push(to_publish);
        followers.push(to_follow);
        let io = Rc::clone(&io);
        tokio::task::spawn_local(async move {
            let keep_up = keep_up(&io, shard, leaving);
            tokio::join!(keep_up, publish(&io, shard, publications), subscribe_all(&io, shard, changes));
        });
    }
    select! {
        () = sort(&io.shared, operations, &publishers) => {}
        () = follow(&io.shared, &followers) => {}
        () = io.shared.stop.notified() => {}
    }
}

/// Sorts operations by shard.
async fn sort(
    shared: &PubSubShared,
    mut operations: UnboundedReceiver<PubSubOperation>,
    shards: &[UnboundedSender<PubSubOperation>],
) {
    while let Some(operation) = operations.recv().await {
        // This fails only when the layer ends.
        match &operation {
            PubSubOperation::Publish { topic, .. } => {
                drop(shards[shared.topic_shard(topic)].send(operation));
            }
            PubSubOperation::Append(appending, _) => {
                drop(shards[shared.group_shard(&appending.group)].send(operation));
            }
            PubSubOperation::Listens(group) => drop(shards[shared.group_shard(group)].send(operation)),
            PubSubOperation::Listen => {
                for shard in shards {
                    let _ = shard.send(PubSubOperation::Listen);
                }
            }
        }
    }
}

/// Publishes on one shard, batch after batch.
async fn publish(io: &PubSubIo, shard: usize, mut operations: UnboundedReceiver<PubSubOperation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while operations.recv_many(&mut batch, BATCH).await > 0 {
        let mut commands = redis::pipe();
        let mut callers = Vec::new();
        let mut joining = Vec::new();
        let mut listens = false;
        for operation in batch.drain(..) {
            match operation {
                PubSubOperation::Listen => listens = true,
                PubSubOperation::Listens(group) => joining.push(group),
                PubSubOperation::Append(mut appending, room) => {
                    commands.add_command(io.append(shard, &mut appending));
                    callers.push(Caller::Append(appending, room));
                }
                PubSubOperation::Publish { topic, beside, message, reply, room } => {
                    commands.add_command(io.put(shard, &topic, beside.as_deref(), &message));
                    callers.push(Caller::Publish(reply, room));
                }
            }
        }
        let is_sent = io.links[shard].is_connected();
        let (callers, forgotten) = io.run(shard, commands, callers, is_sent).await;
        if !callers.is_empty() {
            // The server has forgotten scripts, which are sent in full now.
            io.run(shard, forgotten, callers, is_sent).await;
        }
        io.join_again(shard, joining).await;
        if listens
            && io.sinks[shard].borrow().is_some()
            && let Err(reason) = listen(io, shard).await
        {
            // The next connection subscribes to all channels.
            io.links[shard].fail(reason);
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
                        let mut groups = shared.members.groups(on_shard);
                        // The log of a group knows what its members have missed.
                        let filled = shared.groups.directory().refill_all(on_shard).await;
                        groups.retain(|group| !filled.contains(group));
                        shared.tell_gap(&io.inbox, groups, away).await;
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
    // What was said beside a topic of the message that comes next on it.
    let mut notices = HashMap::new();
    let beside = io.shared.side_topic("");
    loop {
        select! {
            // Messages are taken first. A topic is over only when Redis has confirmed that it was left, and
            // all earlier messages have been taken.
            biased;
            message = messages.next() => {
                let Some(message) = message else { return "the connection has ended".to_owned() };
                let (topic, bytes) = (message.get_channel_name(), message.get_payload_bytes());
                if let Some(group) = topic.strip_prefix(&beside).and_then(|name| GroupName::new(name).ok()) {
                    match Notice::read(bytes) {
                        Some(Notice::Listens(number)) => {
                            let source = PubSubSource::Listens(group.clone(), number);
                            if !io.inbox.offer(Bytes::new(), source) {
                                io.shared.missed(group);
                            }
                        }
                        Some(notice) => drop(notices.insert(io.shared.topic(&group), notice)),
                        // A later version says more.
                        None => {}
                    }
                    continue;
                }
                let (topic, bytes) = (topic.to_owned(), Bytes::copy_from_slice(bytes));
                let notice = if notices.is_empty() { None } else { notices.remove(&topic) };
                if !io.inbox.offer(bytes.clone(), PubSubSource::Topic(topic.clone(), notice)) {
                    // The message is dropped, because Redis would not wait, but end the connection. If a
                    // sender in this process waits for the echo, it learns that now.
                    drop(io.shared.echo(&topic, &bytes, notice));
                    if let (None, Some(group)) = (notice, io.shared.group_of(&topic)) {
                        io.shared.missed(group);
                    }
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
    log::thread::prepare(io, shard).await;
    let groups = shared.members.all(|group| shared.group_shard(group) == shard);
    subscribe(io, shard, &groups).await?;
    listen(io, shard).await?;
    log::unsure::resolve(io, shard).await?;
    Ok(messages)
}

/// Subscribes to the topics of groups, and wakes the callers that wait for that.
async fn subscribe(io: &PubSubIo, shard: usize, groups: &[(GroupName, u64)]) -> Result<(), String> {
    for some in groups.chunks(BATCH) {
        // Groups that have lost their last member meanwhile are left out.
        let here = some.iter().filter(|(group, _)| io.shared.members.is_settled(group).is_some());
        let here: Vec<&GroupName> = here.map(|(group, _)| group).collect();
        if here.is_empty() {
            continue;
        }
        // A group's two topics stand in one command, so that no message comes between them.
        let topics = io.shared.topics_of(here.iter().copied());
        let sink = io.sinks[shard].borrow().clone();
        let Some(mut sink) = sink else { return Err("it is not connected".into()) };
        io.links[shard].within(sink.subscribe(topics)).await?;
        let logged: Vec<&GroupName> = here.into_iter().filter(|group| io.shared.has_log(group)).collect();
        io.join(shard, &logged).await;
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

/// Tells each shard of the groups that have got their first member in this process, or lost their last.
async fn follow(shared: &PubSubShared, shards: &[UnboundedSender<Changes>]) {
    let none = || Changes { joined: Vec::new(), left: Vec::new() };
    loop {
        let changed = shared.groups.changed().await;
        let topics: Vec<String> = changed.iter().map(|group| shared.topic(group)).collect();
        // All of them, until it is known which have lost their last member.
        shared.driver.leaving.add(topics.iter().cloned());
        let Changes { joined, left } = shared.note_changes(changed);
        shared.driver.leaving.add(left.iter().map(|(group, _)| shared.topic(group)));
        shared.driver.leaving.remove(topics);
        let mut sorted: Vec<Changes> = shards.iter().map(|_| none()).collect();
        for group in joined {
            sorted[shared.group_shard(&group.0)].joined.push(group);
        }
        for group in left {
            sorted[shared.group_shard(&group.0)].left.push(group);
        }
        for (shard, changes) in shards.iter().zip(sorted) {
            // This fails only when the layer ends.
            let _ = shard.send(changes);
        }
        // A caller that waits for a group which has lost its last member need not wait any more.
        shared.members.changed.notify_waiters();
    }
}

/// Subscribes to a shard's groups from their first member in this process to their last.
async fn subscribe_all(io: &PubSubIo, shard: usize, mut changes: UnboundedReceiver<Changes>) {
    while let Some(Changes { joined, left }) = changes.recv().await {
        let done = change(io, shard, &joined, &left).await;
        if let Err(reason) = done {
            // The next connection subscribes to all groups, and to no other.
            io.links[shard].fail(reason);
        }
        if !left.is_empty() {
            let topics: LeftTopics =
                left.into_iter().map(|(group, number)| (io.shared.topic(&group), number)).collect();
            io.shared.driver.leaving.remove(topics.iter().map(|(topic, _)| topic.clone()));
            io.shared.members.changed.notify_waiters();
            let _ = io.left[shard].send(topics);
        }
    }
}

async fn change(
    io: &PubSubIo,
    shard: usize,
    joined: &[(GroupName, u64)],
    left: &[(GroupName, u64)],
) -> Result<(), String> {
    if io.sinks[shard].borrow().is_none() {
        // The next connection subscribes to all groups.
        return Ok(());
    }
    subscribe(io, shard, joined).await?;
    let sink = io.sinks[shard].borrow().clone();
    if let (false, Some(mut sink)) = (left.is_empty(), sink) {
        let topics = io.shared.topics_of(left.iter().map(|(group, _)| group));
        io.links[shard].within(sink.unsubscribe(&topics)).await?;
    }
    Ok(())
}
