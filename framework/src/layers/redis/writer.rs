//! Writes to Redis, batch after batch. Each batch takes two round trips, however many operations it has.
//!
//! The operations of one caller are written in their order, also if one goes to a group and the next one to a
//! channel.

use std::{
    cell::Cell,
    collections::HashSet,
    sync::{Arc, atomic::Ordering::Release},
};

use futures_util::future::join_all;
use redis::{Pipeline, Value};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use super::{
    batch::{CommandBatch, Progress, Then},
    link::{RedisLink, unix_time},
    names::{channel_key, process_name},
    state::{Core, CoreOperation, CoreShared},
    taking::Taking,
    told::{Piece, Tell, Told},
};
use crate::{
    ChannelName, Delivery,
    layers::{
        LayerError,
        server::driver::{InboundSenderOf, Publication},
    },
};

/// How many operations a batch has at most.
pub(super) const BATCH: usize = 512;

/// A member of the process' own queue that is not a message. It makes the reader look again which channels to
/// read.
pub(super) const WAKE: &[u8] = b"greenroom:wake";

/// The state that the tasks of the driver's thread share.
pub(super) struct CoreIo {
    pub(super) shared: Arc<CoreShared>,
    pub(super) links: Vec<RedisLink>,
    pub(super) inbox: InboundSenderOf<Core>,
    /// The names of this process in its groups.
    pub(super) told: Told,
    /// Whether the writer still has to tell which members have joined and left.
    pub(super) asked: Cell<bool>,
    /// For each shard, the messages that are under way to callers that wait.
    pub(super) taking: Vec<Taking>,
    pub(super) last_score: Cell<f64>,
    /// The shard for the next message to a channel of any process. The shards take turns, as in
    /// channels_redis.
    pub(super) next_shard: Cell<usize>,
}

/// Writes until no sender of operations is left.
pub(super) async fn write(io: &CoreIo, mut operations: UnboundedReceiver<CoreOperation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while operations.recv_many(&mut batch, BATCH).await > 0 {
        io.run(std::mem::take(&mut batch)).await;
    }
}

impl CoreIo {
    pub(super) fn new(shared: Arc<CoreShared>, inbox: InboundSenderOf<Core>) -> Self {
        let links = RedisLink::all(&shared.driver.settings, shared.config.timeout);
        let taking = links.iter().map(|_| Taking::default()).collect();
        Self {
            shared,
            links,
            inbox,
            told: Told::default(),
            asked: Cell::new(false),
            taking,
            last_score: Cell::new(0.0),
            next_shard: Cell::new(0),
        }
    }

    /// Asks a shard. An error holds for all commands.
    pub(super) async fn ask(&self, shard: usize, commands: &Pipeline) -> Result<Vec<Value>, LayerError> {
        let replies = self.links[shard].run(commands).await;
        replies.map_err(|reason| self.shared.status.unavailable(shard, &reason))
    }

    /// Carries out a batch of operations.
    async fn run(&self, operations: Vec<CoreOperation>) {
        let names = self.look_up(&operations).await;
        let mut batches: Vec<CommandBatch> = self.links.iter().map(|_| CommandBatch::default()).collect();
        let mut publications = Vec::new();
        let (mut flushes, mut written) = (Vec::new(), Vec::new());
        let told = self.tell_members(&mut batches);
        for operation in operations {
            match operation {
                CoreOperation::Publish(Publication { group, envelope, event, reply, room }) => {
                    let mut progress =
                        Progress { delivery: Delivery::default(), error: None, reply, _room: room };
                    match names.get(&group) {
                        Some(Ok(names)) => {
                            let number = publications.len();
                            self.publish(&group, names, envelope.as_ref(), &event, number, &mut batches);
                        }
                        Some(Err(error)) => progress.error = Some(error.clone()),
                        None => {}
                    }
                    publications.push(progress);
                }
                CoreOperation::Send { channel, event, reply, room } => {
                    self.send(channel, &event, reply, room, &mut batches);
                }
                CoreOperation::Flush { reply } => flushes.push(reply),
                CoreOperation::Written { reply } => written.push(reply),
                other => self.simple(other, &mut batches),
            }
        }
        let runs = batches.into_iter().enumerate().map(|(shard, batch)| async move {
            let replies = self.links[shard].run(&batch.commands).await;
            (shard, batch, replies)
        });
        let mut wanted = HashSet::new();
        for (shard, batch, replies) in join_all(runs).await {
            self.take_replies(shard, batch, replies, &mut publications, &mut wanted);
        }
        if let Some(told) = told {
            self.shared.told.store(told, Release);
            self.shared.members.changed.notify_waiters();
        }
        for publication in publications {
            self.finish(publication);
        }
        self.wake_readers(&wanted).await;
        for reply in flushes {
            let _ = reply.send(self.flush().await);
        }
        for reply in written {
            let _ = reply.send(());
        }
    }

    /// Adds the commands of an operation that needs no look-up.
    fn simple(&self, operation: CoreOperation, batches: &mut [CommandBatch]) {
        let prefix = &self.shared.config.prefix;
        match operation {
            CoreOperation::Member { group, channel, is_in: true, reply } => {
                let batch = &mut batches[self.shared.group_shard(&group)];
                self.push_join(batch, &group, &[channel], Then::Answer(reply));
            }
            CoreOperation::Member { group, channel, is_in: false, reply } => {
                if self.told.is_in(&group, &channel) {
                    // The channel has joined again since the request.
                    return drop(reply.send(Ok(())));
                }
                let command = self.take_out(&group, &[channel]);
                batches[self.shared.group_shard(&group)].push(command, Then::Answer(reply));
            }
            CoreOperation::Join { group, number } => {
                let name = process_name(&self.shared.driver.process, number);
                let shard = self.shared.group_shard(&group);
                if self.told.note(&group, &name, true, self.links[shard].is_connected()) == Tell::Join {
                    self.push_join(&mut batches[shard], &group, &[name], Then::Settle(group.clone(), number));
                }
            }
            CoreOperation::Leave { group, number } => {
                let names = [process_name(&self.shared.driver.process, number)];
                let shard = self.shared.group_shard(&group);
                if self.told.note(&group, &names[0], false, self.links[shard].is_connected()) == Tell::Leave {
                    let left = Piece { group: group.clone(), names: names.to_vec() };
                    batches[shard].push(self.take_out(&group, &names), Then::Left(left));
                }
            }
            // `tell_members` has done this already, before the operations of this batch.
            CoreOperation::Members => {}
            CoreOperation::Renew(piece) => self.renew(piece, batches),
            CoreOperation::Want(channel) => {
                // Any shard may have a message. If this one has none, the readers wait on all shards.
                let shard = self.next_shard.get() % batches.len();
                let count = self.taking[shard].claim(&self.shared.driver.demand, &channel, usize::MAX);
                let mut command = redis::cmd("ZPOPMIN");
                command.arg(channel_key(prefix, &channel)).arg(count);
                batches[shard].push(command, Then::Take { channel, count });
            }
            CoreOperation::Back(popped) => {
                let Err(popped) = self.shared.driver.demand.offer(popped) else { return };
                let key = channel_key(prefix, popped.channel.non_local());
                let mut add = redis::cmd("ZADD");
                add.arg(&key).arg(popped.score.to_string()).arg(&popped.member[..]);
                let mut expire = redis::cmd("EXPIRE");
                expire.arg(&key).arg(self.shared.config.layer.expiry.as_secs().max(1));
                batches[popped.shard].push(add, Then::PutBack);
                batches[popped.shard].push(expire, Then::Nothing);
            }
            CoreOperation::Publish(_)
            | CoreOperation::Send { .. }
            | CoreOperation::Flush { .. }
            | CoreOperation::Written { .. } => {}
        }
    }

    /// Makes the readers wait for these channels too, if callers still wait for them.
    async fn wake_readers(&self, wanted: &HashSet<ChannelName>) {
        let wakes = (0..self.links.len()).map(|shard| async move {
            let misses = |channel| self.taking[shard].misses(&self.shared.driver.demand, channel);
            if wanted.iter().any(misses) {
                self.wake_reader(shard).await;
            }
        });
        join_all(wakes).await;
    }

    /// Makes the reader of a shard look again which channels to read.
    async fn wake_reader(&self, shard: usize) {
        let key = self.shared.queue_key();
        let mut commands = redis::pipe();
        commands.cmd("ZADD").arg(&key).arg(unix_time().to_string()).arg(WAKE);
        commands.cmd("EXPIRE").arg(&key).arg(60);
        // A shard that is away has no reader. The next reader looks by itself.
        let _ = self.links[shard].run(&commands).await;
    }

    /// Puts back messages that were taken for callers that do not wait any more.
    ///
    /// Messages that are just being taken are put back too. The writer must run meanwhile.
    pub(super) async fn hand_back(&self) {
        let demand = &self.shared.driver.demand;
        let settle = self.taking.iter().enumerate().map(|(shard, taking)| async move {
            if taking.is_stale(demand) {
                self.wake_reader(shard).await;
                taking.settled(demand).await;
            }
        });
        join_all(settle).await;
        let (reply, written) = oneshot::channel();
        self.shared.tell(CoreOperation::Written { reply });
        // The writer answers, unless it ends before.
        let _ = written.await;
    }
}
