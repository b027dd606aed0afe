//! The work while both connections are open.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    select,
    sync::{mpsc::UnboundedReceiver, oneshot},
    task::spawn_local,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    answer::ProcessAnswer,
    link::{CHANNELS, GROUPS, NatsLink},
    log::tasks::AppendError,
    readers::ReadState,
    shared::{NatsOperation, NatsShared, NatsSource, Place},
};
use crate::{ChannelName, Delivery, Envelope, LayerError, event::Format, layers::server::shared::Changes};

/// How many operations a batch has at most.
const BATCH: usize = 512;

/// Subscribes to all groups and channels of this process.
///
/// When this returns, NATS sends everything that is published to them.
pub(super) async fn hear_all(link: &Rc<NatsLink>) -> Result<(), String> {
    let shared = &link.shared;
    // These changes came while there was no connection.
    shared.note_changes(shared.groups.changed().now_or_never().unwrap_or_default());
    shared.driver.readers.take_dirty();
    let groups = shared.members.all(|_| true);
    for (group, _) in &groups {
        link.hear_group(group).await?;
    }
    for channel in shared.driver.readers.all() {
        link.hear_channel(&channel).await?;
    }
    link.synced(GROUPS).await?;
    link.synced(CHANNELS).await?;
    shared.members.settle(&groups);
    Ok(())
}

/// Subscribes to a group from its first member in this process to its last.
///
/// Returns when a connection does not work any more, and why.
pub(super) async fn follow(link: &Rc<NatsLink>) -> String {
    let shared = &link.shared;
    loop {
        let Changes { joined, left } = shared.note_changes(shared.groups.changed().await);
        // A caller that waits for a group which has lost its last member need not wait any more.
        shared.members.changed.notify_waiters();
        for (group, _) in left {
            if link.lingers(&group) {
                continue;
            }
            link.unhear_group(&group).await;
            link.missed.borrow_mut().remove(&group);
        }
        for (group, _) in &joined {
            if let Err(reason) = link.hear_group(group).await {
                return reason;
            }
        }
        if joined.is_empty() {
            continue;
        }
        // The groups that get members meanwhile share the next round trip.
        match link.synced(GROUPS).await {
            Ok(()) => shared.members.settle(&joined),
            Err(reason) => return reason,
        }
    }
}

/// Subscribes to the channels that are read in this process.
///
/// Returns when a connection does not work any more, and why.
pub(super) async fn listen(link: &Rc<NatsLink>) -> String {
    let readers = &link.shared.driver.readers;
    let idle = link.shared.config.layer.expiry / 2;
    let mut look = interval((idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(5)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            () = readers.changed.notified() => {}
            _ = look.tick() => readers.give_up(idle),
        }
        for channel in readers.take_dirty() {
            let heard = link.channels.borrow_mut().remove(&channel);
            match (readers.reads(&channel), heard) {
                (ReadState::Yes, Some(heard)) => drop(link.channels.borrow_mut().insert(channel, heard)),
                (ReadState::NoMore, Some(heard)) => {
                    link.channels.borrow_mut().insert(channel.clone(), heard);
                    let link = Rc::clone(link);
                    spawn_local(async move { hand_on(&link, &channel).await });
                }
                (ReadState::Yes, None) => {
                    if let Err(reason) = link.hear_channel(&channel).await {
                        return reason;
                    }
                }
                (ReadState::Never, Some(heard)) => {
                    heard.leave().await;
                    let link = Rc::clone(link);
                    spawn_local(async move { hand_on(&link, &channel).await });
                }
                (ReadState::Never | ReadState::NoMore, None) => {}
            }
        }
    }
}

/// Offers the messages of a channel to other processes.
///
/// It is called when this process does not read the channel any more. Messages that no other process takes
/// stay in the queue.
async fn hand_on(link: &Rc<NatsLink>, channel: &ChannelName) {
    // After this, no more messages come.
    if link.synced(CHANNELS).await.is_err() {
        return;
    }
    let shared = &link.shared;
    let mut kept = TakenMessages { shared, channel, messages: VecDeque::new() };
    while let Some(Ok(envelope)) = shared.groups.receive(channel).now_or_never() {
        kept.messages.push_back(envelope);
    }
    while let Some(envelope) = kept.messages.front() {
        if shared.driver.readers.reads(channel) == ReadState::Yes {
            return;
        }
        let Ok(bytes) = envelope.to_wire(Format::MsgPack) else { return };
        let asked = link.ask(CHANNELS, shared.driver.subjects.channel(channel), bytes, 1).await;
        match asked.await {
            Ok(ProcessAnswer::Ok) => drop(kept.messages.pop_front()),
            _ => return,
        }
    }
}

/// Messages that were taken out of a queue. Dropping this puts back those that are left.
struct TakenMessages<'a> {
    shared: &'a NatsShared,
    channel: &'a ChannelName,
    messages: VecDeque<Envelope>,
}

impl Drop for TakenMessages<'_> {
    fn drop(&mut self) {
        for envelope in self.messages.drain(..) {
            // A queue takes a message at once, or it is full and counts the loss.
            let _ = self.shared.groups.send(self.channel, envelope).now_or_never();
        }
    }
}

/// Tells the members of groups that they missed events, once there is room again.
pub(super) async fn tell_misses(link: &Rc<NatsLink>) {
    loop {
        link.fate.misses.notified().await;
        while !link.inbox.is_half_empty() {
            sleep(Duration::from_millis(20)).await;
        }
        let mut missed = std::mem::take(&mut *link.missed.borrow_mut());
        if link.fate.is_slow.swap(false, Relaxed) {
            // The client does not say which group missed events.
            for (group, _) in link.shared.members.all(|_| true) {
                missed.entry(group).or_insert_with(Instant::now);
            }
        }
        for (group, since) in missed {
            let seconds = since.elapsed().as_secs_f64();
            if link.shared.policy(&group).is_some() {
                let refill = NatsSource::Refill { groups: vec![group], seconds: Some(seconds) };
                link.inbox.message(Bytes::new(), refill).await;
            } else {
                link.inbox.gap(vec![group], seconds).await;
            }
        }
    }
}

/// Writes, batch after batch. Returns when a connection does not work any more, and why.
pub(super) async fn write(link: &Rc<NatsLink>, operations: &mut UnboundedReceiver<NatsOperation>) -> String {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        operations.recv_many(&mut batch, BATCH).await;
        if let Err(reason) = write_batch(link, batch.drain(..)).await {
            return reason;
        }
    }
}

async fn write_batch(link: &Rc<NatsLink>, batch: impl Iterator<Item = NatsOperation>) -> Result<(), String> {
    let mut places: Vec<Place> = Vec::new();
    let mut confirmed = Confirmed { shared: &link.shared, replies: Vec::new() };
    let mut answers = Vec::new();
    for operation in batch {
        match operation {
            NatsOperation::Append(append) => link.append(append),
            NatsOperation::ReadLog { policy, group, part, most, seen, reply } => {
                let link = Rc::clone(link);
                spawn_local(async move {
                    // This fails if the caller has gone.
                    let _ = reply.send(link.read_log(policy, &group, part, most, seen).await);
                });
            }
            NatsOperation::Publish { group, event, transient, reply, place } => {
                link.publish(&group, event, transient).await?;
                places.push(place);
                confirmed.replies.extend(reply);
            }
            NatsOperation::Ask { subject, payload, reply, room } => {
                let answer = link.ask(GROUPS, subject, payload, 0).await;
                spawn_local(async move {
                    // This fails if the caller has gone.
                    let _ = reply.send(answer.await);
                    drop(room);
                });
            }
            NatsOperation::Answer { to, answer, joined: None, room } => {
                link.answer(to, &answer).await;
                answers.push(room);
            }
            NatsOperation::Answer { to, answer, joined: Some(group), room } => {
                let link = Rc::clone(link);
                spawn_local(async move {
                    link.shared.settled(&group).await;
                    link.shared.open_log(&group).await;
                    link.answer(to, &answer).await;
                    drop(room);
                });
            }
            NatsOperation::PassOn { channel, bytes, passed, to, otherwise, room } => {
                let asked =
                    link.ask(CHANNELS, link.shared.driver.subjects.channel(&channel), bytes, passed).await;
                let link = Rc::clone(link);
                spawn_local(async move {
                    let answer =
                        if asked.await == Ok(ProcessAnswer::Ok) { ProcessAnswer::Ok } else { otherwise };
                    if let Some(to) = to {
                        link.answer(to, &answer).await;
                    }
                    drop(room);
                });
            }
        }
    }
    if !places.is_empty() {
        link.flush(GROUPS).await?;
        places.into_iter().for_each(Place::written);
    }
    if !answers.is_empty() {
        link.flush(CHANNELS).await?;
    }
    let replies = std::mem::take(&mut confirmed.replies);
    if !replies.is_empty() {
        let link = Rc::clone(link);
        spawn_local(async move {
            let synced = link.synced(GROUPS).await;
            for reply in replies {
                let done = synced.clone().map(|()| Delivery::default()).map_err(|_| link.shared.lost());
                // This fails if the caller has gone.
                let _ = reply.send(done);
            }
        });
    }
    Ok(())
}

/// The callers that wait until NATS has their events. Dropping this tells them that the connection was lost.
struct Confirmed<'a> {
    shared: &'a NatsShared,
    replies: Vec<oneshot::Sender<Result<Delivery, LayerError>>>,
}

impl Drop for Confirmed<'_> {
    fn drop(&mut self) {
        for reply in self.replies.drain(..) {
            let _ = reply.send(Err(self.shared.lost()));
        }
    }
}

/// Refuses all operations while there is no connection.
pub(super) async fn refuse(shared: &Arc<NatsShared>, operations: &mut UnboundedReceiver<NatsOperation>) {
    while let Some(operation) = operations.recv().await {
        match operation {
            NatsOperation::Publish { reply: Some(reply), .. } => drop(reply.send(Err(shared.status.away(0)))),
            NatsOperation::Append(append) => {
                let reason = shared.status.away(0).to_string();
                drop(append.reply.send(Err(AppendError::Not(reason))));
            }
            NatsOperation::ReadLog { reply, .. } => drop(reply.send(Err(shared.status.away(0)))),
            NatsOperation::Ask { reply, .. } => drop(reply.send(Err(shared.status.away(0)))),
            // A publication counts its loss itself. A process that waits for an answer notices that none
            // comes.
            NatsOperation::Publish { .. } | NatsOperation::Answer { .. } | NatsOperation::PassOn { .. } => {}
        }
    }
}

/// Writes the operations that are waiting, and hands on the messages of all channels.
pub(super) async fn leave(link: &Rc<NatsLink>, operations: &mut UnboundedReceiver<NatsOperation>) {
    let mut batch = Vec::new();
    while let Ok(operation) = operations.try_recv() {
        batch.push(operation);
    }
    // If the connection does not work any more, there is nothing to leave.
    if write_batch(link, batch.into_iter()).await.is_err() {
        return;
    }
    for channel in link.shared.driver.readers.close() {
        let heard = link.channels.borrow_mut().remove(&channel);
        if let Some(heard) = heard {
            heard.leave().await;
        }
        hand_on(link, &channel).await;
    }
    for connection in [GROUPS, CHANNELS] {
        let _ = link.synced(connection).await;
    }
}
