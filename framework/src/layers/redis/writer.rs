//! Writes to Redis, batch after batch. Each batch takes two round trips, however many operations it has.
//!
//! An operation goes into the lane of its shard. A lane first looks up names, and then puts commands into the
//! order of a shard. So with one shard, the operations of a caller are written in their order, also if one goes
//! to a group and the next one to a channel.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::{
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::spawn_local,
};

use super::{
    batch::{CommandBatch, Entry, Mark, Progress, Replies, Then},
    known::KnownNames,
    link::{RedisLink, unix_time},
    log::linked::LogState,
    names::{channel_key, process_name},
    publication::{FoundNames, OutgoingEvent},
    state::{Core, CoreOperation, CoreShared},
    taking::Taking,
    told::{Piece, Tell, Told},
};
use crate::{
    ChannelName, GroupName,
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

/// A member that the process' own queue never has. A server that takes it out takes writes.
const PROBE: &[u8] = b"greenroom:probe";

/// The state that the tasks of the driver's thread share.
pub(super) struct CoreIo {
    pub(super) shared: Arc<CoreShared>,
    pub(super) links: Vec<RedisLink>,
    lanes: Vec<Lane>,
    pub(super) inbox: InboundSenderOf<Core>,
    /// The names of this process in its groups.
    pub(super) told: Told,
    /// Is notified when Redis has refused a name of this process for now.
    pub(super) refused: Notify,
    /// Whether the writer still has to tell which members have joined and left.
    pub(super) asked: Cell<bool>,
    /// For each shard, the messages that are under way to callers that wait.
    pub(super) taking: Vec<Taking>,
    pub(super) last_score: Cell<f64>,
    pub(super) logs: LogState,
    pub(super) known: KnownNames,
    /// The shard for the next message to a channel of any process. The shards take turns, as in
    /// channels_redis.
    pub(super) next_shard: Cell<usize>,
}

/// What goes through the lane of a shard.
pub(super) enum LaneOperation {
    Core(CoreOperation),
    /// Somebody waits until the last one is dropped, after all earlier commands of all shards.
    Written(Rc<oneshot::Sender<()>>),
}

/// The two queues of a shard.
///
/// Each shard has tasks of its own, so that a shard which hangs holds up no other.
struct Lane {
    /// The operations on this shard's groups and channels, which may need a look-up.
    operations: UnboundedSender<LaneOperation>,
    /// The commands for this shard. Those of an event to a group come from the lane of the group.
    entries: UnboundedSender<Entry>,
    /// Whether names are being looked up.
    is_looking: Cell<bool>,
    /// The answers to requests to take names out that came meanwhile.
    left: RefCell<Vec<(Piece, bool)>>,
}

/// The receivers of a lane.
pub(super) struct LaneTasks {
    operations: UnboundedReceiver<LaneOperation>,
    entries: UnboundedReceiver<Entry>,
}

/// Sorts operations by shard, until no sender of operations is left.
pub(super) async fn write(io: &Rc<CoreIo>, mut operations: UnboundedReceiver<CoreOperation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while operations.recv_many(&mut batch, BATCH).await > 0 {
        io.tell_members();
        for operation in batch.drain(..) {
            io.sort(operation);
        }
    }
}

/// Writes what belongs to one shard.
pub(super) async fn write_shard(io: &CoreIo, shard: usize, lane: LaneTasks) {
    let LaneTasks { mut operations, mut entries } = lane;
    let look_up = async {
        let mut some = Vec::with_capacity(BATCH);
        while operations.recv_many(&mut some, BATCH).await > 0 {
            io.lanes[shard].is_looking.set(true);
            let names = io.look_up(shard, &some).await;
            for operation in some.drain(..) {
                io.carry_out(shard, operation, &names);
            }
            io.lanes[shard].is_looking.set(false);
            for (piece, done) in io.lanes[shard].left.take() {
                io.told.left(&piece.group, &piece.names, done);
            }
        }
    };
    let write = async {
        let mut some = Vec::with_capacity(BATCH);
        while entries.recv_many(&mut some, BATCH).await > 0 {
            let mut batch = CommandBatch::default();
            some.drain(..).for_each(|entry| batch.push(entry));
            let is_sent = io.links[shard].is_connected();
            let replies = io.links[shard].run(&batch.commands).await;
            io.take_replies(shard, batch, replies, is_sent);
        }
    };
    tokio::join!(look_up, write);
}

impl CoreIo {
    /// Makes the state, and the receivers of each shard's lane.
    pub(super) fn new(shared: Arc<CoreShared>, inbox: InboundSenderOf<Core>) -> (Self, Vec<LaneTasks>) {
        // The command needs a connection that takes writes, and changes nothing.
        let mut probe = redis::cmd("ZREM");
        probe.arg(shared.queue_key()).arg(PROBE);
        let links = RedisLink::all(&shared.driver.settings, shared.config.timeout, &probe);
        let logs = LogState::new(links.len());
        let taking = links.iter().map(|_| Taking::default()).collect();
        let lane = || {
            let ((to_operations, operations), (to_entries, entries)) =
                (unbounded_channel(), unbounded_channel());
            let (is_looking, left) = (Cell::new(false), RefCell::default());
            let lane = Lane { operations: to_operations, entries: to_entries, is_looking, left };
            (lane, LaneTasks { operations, entries })
        };
        let (lanes, tasks) = links.iter().map(|_| lane()).unzip();
        let io = Self {
            shared,
            links,
            lanes,
            inbox,
            told: Told::default(),
            refused: Notify::new(),
            asked: Cell::new(false),
            taking,
            last_score: Cell::new(0.0),
            logs,
            known: KnownNames::default(),
            next_shard: Cell::new(0),
        };
        (io, tasks)
    }

    /// Asks a shard. An error holds for all commands, and also comes if the shard refuses one of them.
    pub(super) async fn ask(&self, shard: usize, commands: &Pipeline) -> Result<Vec<Value>, LayerError> {
        let replies = self.links[shard].run(commands).await;
        let count = commands.len();
        let mut replies = Replies::new(&self.shared.status, shard, commands, replies);
        (0..count).map(|_| replies.next()).collect()
    }

    /// Notes the answer of a shard to a request to take names out.
    ///
    /// A look-up that is under way may still find the names. Until its events are sent, the names count as
    /// members that have had the event.
    pub(super) fn left(&self, shard: usize, piece: Piece, done: bool) {
        let lane = &self.lanes[shard];
        if lane.is_looking.get() {
            lane.left.borrow_mut().push((piece, done));
        } else {
            self.told.left(&piece.group, &piece.names, done);
        }
    }

    /// Puts a command into the order of a shard's commands.
    pub(super) fn push(&self, shard: usize, command: Cmd, then: Then) {
        self.put(shard, Entry::Command(command, then));
    }

    pub(super) fn put(&self, shard: usize, entry: Entry) {
        // The receiver lives as long as the thread.
        let _ = self.lanes[shard].entries.send(entry);
    }

    /// Puts an operation into the lane of its shard.
    fn sort(self: &Rc<Self>, operation: CoreOperation) {
        let shard = match &operation {
            CoreOperation::Publish { publication: Publication { group, .. }, .. }
            | CoreOperation::Strays { group, .. }
            | CoreOperation::Member { group, .. }
            | CoreOperation::Join { group, .. }
            | CoreOperation::Leave { group, .. } => self.shared.group_shard(group),
            CoreOperation::Append(appending, _) => self.shared.group_shard(&appending.group),
            CoreOperation::Renew(piece) => self.shared.group_shard(&piece.group),
            CoreOperation::Send { channel, .. } => self.channel_shard(channel),
            // Any shard may have a message. If this one has none, the readers wait on all shards.
            CoreOperation::Want(_) => self.next_shard.get() % self.links.len(),
            CoreOperation::Back(popped) => popped.shard,
            // `tell_members` has done this already, before the operations of this batch.
            CoreOperation::Members => return,
            CoreOperation::Flush { .. } | CoreOperation::Written { .. } => {
                return self.after_all(operation);
            }
        };
        self.look(shard, operation);
    }

    /// Puts an operation into the lane of a shard, where names are looked up.
    pub(super) fn look(&self, shard: usize, operation: CoreOperation) {
        let _ = self.lanes[shard].operations.send(LaneOperation::Core(operation));
    }

    /// Carries out an operation when all earlier ones are written, or have failed.
    fn after_all(self: &Rc<Self>, operation: CoreOperation) {
        let (last, written) = oneshot::channel();
        let last = Rc::new(last);
        for lane in &self.lanes {
            let _ = lane.operations.send(LaneOperation::Written(Rc::clone(&last)));
        }
        let io = Rc::clone(self);
        spawn_local(async move {
            // The result is an error when the last sender is dropped.
            let _ = written.await;
            match operation {
                CoreOperation::Flush { reply } => drop(reply.send(io.flush().await)),
                CoreOperation::Written { reply } => drop(reply.send(())),
                _ => {}
            }
        });
    }

    fn carry_out(&self, shard: usize, operation: LaneOperation, names: &HashMap<GroupName, FoundNames>) {
        match operation {
            LaneOperation::Written(last) => {
                // The events of this lane may have gone to any shard.
                for shard in 0..self.links.len() {
                    self.put(shard, Entry::Mark(Mark::Written(Rc::clone(&last))));
                }
            }
            LaneOperation::Core(CoreOperation::Append(appending, room)) => {
                let found = names.get(&appending.group);
                self.append_to(shard, appending, room, found);
            }
            LaneOperation::Core(CoreOperation::Publish { publication, is_transient }) => {
                let Publication { group, except, envelope, event, reply, room } = publication;
                let waits = reply.is_some();
                let progress = Rc::new(Progress {
                    directory: Arc::clone(self.shared.groups.directory()),
                    delivery: Cell::default(),
                    error: RefCell::default(),
                    waits_for: Cell::new(0),
                    reply,
                    _room: room,
                });
                match names.get(&group) {
                    Some(Ok(names)) => {
                        let envelope = envelope.as_ref();
                        let event = OutgoingEvent {
                            group: &group,
                            except: &except,
                            envelope,
                            bytes: &event,
                            is_kept: false,
                        };
                        self.publish(&event, names, is_transient, &progress);
                    }
                    Some(Err(error)) => drop(progress.error.replace(Some(error.clone()))),
                    None => {}
                }
                if waits {
                    // What was sent before, on this shard, is written before the caller goes on.
                    self.put(shard, Entry::Mark(Mark::Published(progress)));
                }
            }
            LaneOperation::Core(CoreOperation::Send { channel, event, reply, room }) => {
                self.send(channel, &event, reply, room, shard);
            }
            LaneOperation::Core(other) => self.simple(shard, other),
        }
    }

    /// Adds the commands of an operation that needs no look-up.
    fn simple(&self, shard: usize, operation: CoreOperation) {
        let prefix = &self.shared.config.prefix;
        match operation {
            CoreOperation::Member { group, channel, is_in: true, reply } => {
                self.push_join(&group, &[channel], Then::Answer(reply));
            }
            CoreOperation::Member { group, channel, is_in: false, reply } => {
                if self.told.is_in(&group, &channel) {
                    // The channel has joined again since the request.
                    return drop(reply.send(Ok(())));
                }
                let command = self.take_out(&group, &[channel]);
                self.push(shard, command, Then::Answer(reply));
            }
            CoreOperation::Join { group, number } => {
                let name = process_name(&self.shared.driver.process, number);
                if self.told.note(&group, &name, true, self.links[shard].is_connected()) == Tell::Join {
                    self.push_own_join(Piece { group, names: vec![name] }, Some(number));
                }
            }
            CoreOperation::Leave { group, number } => {
                let names = [process_name(&self.shared.driver.process, number)];
                if self.told.note(&group, &names[0], false, self.links[shard].is_connected()) == Tell::Leave {
                    let left = Piece { group: group.clone(), names: names.to_vec() };
                    self.push(shard, self.take_out(&group, &names), Then::Left(left));
                }
            }
            CoreOperation::Renew(piece) => self.renew(piece),
            CoreOperation::Strays { group, names, envelope, bytes } => {
                for name in names {
                    self.deliver_own(&group, &name, &envelope, bytes);
                }
            }
            CoreOperation::Want(channel) => {
                let count = self.taking[shard].claim(&self.shared.driver.demand, &channel, usize::MAX);
                let mut command = redis::cmd("ZPOPMIN");
                command.arg(channel_key(prefix, &channel)).arg(count);
                self.push(shard, command, Then::Take { channel, count });
            }
            CoreOperation::Back(popped) => {
                let Err(popped) = self.shared.driver.demand.offer(popped) else { return };
                let key = channel_key(prefix, popped.channel.non_local());
                let mut add = redis::cmd("ZADD");
                add.arg(&key).arg(popped.score.to_string()).arg(&popped.member[..]);
                let mut expire = redis::cmd("EXPIRE");
                expire.arg(&key).arg(self.shared.config.layer.expiry.as_secs().max(1));
                self.push(shard, add, Then::PutBack);
                self.push(shard, expire, Then::Nothing);
            }
            // These have been carried out before.
            CoreOperation::Append(..)
            | CoreOperation::Publish { .. }
            | CoreOperation::Send { .. }
            | CoreOperation::Members
            | CoreOperation::Flush { .. }
            | CoreOperation::Written { .. } => {}
        }
    }

    /// Makes the readers wait for these channels too, if callers still wait for them.
    pub(super) fn wake_readers(&self, wanted: &HashSet<ChannelName>) {
        for (shard, taking) in self.taking.iter().enumerate() {
            let misses = |channel| taking.misses(&self.shared.driver.demand, channel);
            if wanted.iter().any(misses) {
                // A shard that is away has no reader. The next reader looks by itself.
                for command in self.wake() {
                    self.push(shard, command, Then::Nothing);
                }
            }
        }
    }

    /// Makes the reader of a shard look again which channels to read.
    async fn wake_reader(&self, shard: usize) {
        let mut commands = redis::pipe();
        for command in self.wake() {
            commands.add_command(command);
        }
        let _ = self.links[shard].run(&commands).await;
    }

    fn wake(&self) -> [Cmd; 2] {
        let key = self.shared.queue_key();
        let (mut add, mut expire) = (redis::cmd("ZADD"), redis::cmd("EXPIRE"));
        add.arg(&key).arg(unix_time().to_string()).arg(WAKE);
        expire.arg(&key).arg(60);
        [add, expire]
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
