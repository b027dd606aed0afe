//! What the threads of a core layer share: its caller's, the one that speaks with Redis, and the one that delivers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Acquire},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::{
    codec::Codec,
    config::RedisConfig,
    demand::{Demand, Popped},
    inbound::{Deliver, Over, Source, log_undecodable, unix_time},
    names::{channel_key, process_number, shard_of},
    status::Status,
    told::Piece,
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    groups::changes::MemberChanges,
    layers::{Groups, LayerError, server::members::Members},
    metrics::Counters,
};

/// To how many members an event is handed at once.
const AT_ONCE: usize = 128;

/// The state of one [`RedisLayer`](super::RedisLayer).
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: RedisConfig,
    pub(super) codec: Codec,
    pub(super) groups: Groups,
    pub(super) status: Status,
    pub(super) members: Members,
    /// How many joins and leaves of members Redis was told of, where it is told of each.
    pub(super) told: AtomicU64,
    pub(super) demand: Demand,
    /// `specific.<process>!`: what the queue of this process is called.
    pub(super) process: String,
    /// The bytes that may wait to be written.
    pub(super) room: Arc<Semaphore>,
    pub(super) operations: mpsc::UnboundedSender<Operation>,
    pub(super) stop: Notify,
    /// Whether the thread has ended that speaks with Redis.
    pub(super) ended: watch::Sender<bool>,
}

/// What the writer is asked to do.
///
/// Those with an event hold their place in the bound on bytes. Of the others there are no more than there are groups and
/// callers that wait for a reply.
#[derive(Debug)]
pub(super) enum Operation {
    /// Write the event to the members of a group, but for those of this process.
    Publish {
        group: GroupName,
        envelope: Envelope,
        event: Bytes,
        reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
        room: OwnedSemaphorePermit,
    },
    /// Write the event to one channel.
    Send {
        channel: ChannelName,
        event: Bytes,
        reply: oneshot::Sender<Result<(), LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// Put a channel of another process, or of any, into a group.
    Add { group: GroupName, channel: ChannelName, reply: oneshot::Sender<Result<(), LayerError>> },
    /// Take it out.
    Discard { group: GroupName, channel: ChannelName, reply: oneshot::Sender<Result<(), LayerError>> },
    /// Put this process into a group.
    Join { group: GroupName, number: u64 },
    /// Take it out.
    Leave { group: GroupName, number: u64 },
    /// Tell of the members that have come and gone.
    Members,
    /// Put these names into their group anew.
    Renew(Piece),
    /// Get messages for those who wait.
    Want(ChannelName),
    /// Put a message back that nobody waits for any more.
    Back(Popped),
    /// Delete all keys of the prefix.
    Flush { reply: oneshot::Sender<Result<(), LayerError>> },
    /// Say when everything that was asked for before is written, or has failed.
    Written { reply: oneshot::Sender<()> },
}

impl Shared {
    pub(super) fn counters(&self) -> &Counters {
        &self.groups.directory().counters
    }

    /// The key of the queue of this process.
    pub(super) fn queue_key(&self) -> String {
        channel_key(&self.config.prefix, &self.process)
    }

    pub(super) fn group_shard(&self, group: &GroupName) -> usize {
        shard_of(group, self.status.len())
    }

    /// The shard to which others write what is for members of this process.
    pub(super) fn own_shard(&self) -> usize {
        shard_of(&self.process, self.status.len())
    }

    /// Whether what is sent to a group arrives only where this shard is there.
    pub(super) fn rests_on(&self, group: &GroupName, shard: usize) -> bool {
        shard == self.own_shard() || shard == self.group_shard(group)
    }

    /// Waits until Redis has the members of a group that are here, where it can have them.
    pub(super) async fn settled(&self, group: &GroupName) {
        // Each member by itself: then those that have joined so far.
        let wanted = self.groups.directory().members().map(MemberChanges::count);
        let settled = || match (wanted, self.members.is_settled(group)) {
            (Some(wanted), _) => self.told.load(Acquire) >= wanted,
            (None, Some(settled)) => settled,
            (None, None) => !self.groups.has_members(group),
        };
        let shard = self.group_shard(group);
        self.members.wait_until(&self.status, || settled() || !self.status.is_up(shard)).await;
    }

    /// Whether that is so already.
    pub(super) fn is_settled(&self, group: &GroupName) -> bool {
        match self.groups.directory().members() {
            Some(changes) => self.told.load(Acquire) >= changes.count(),
            None => self.members.is_settled(group) == Some(true),
        }
    }

    /// The event's bytes, if they are not too many.
    pub(super) fn write(&self, envelope: &Envelope) -> Result<Bytes, LayerError> {
        let event = self.codec.write(envelope).map_err(LayerError::Unwritable)?;
        let (size, limit) = (event.len(), self.config.queue_bytes);
        if size > limit { Err(LayerError::MessageTooLarge { size, limit }) } else { Ok(event) }
    }

    /// A place in the bound on bytes. What is before it is written, or fails, in the time that Redis may take to answer.
    pub(super) async fn room_for(&self, event: &Bytes) -> Result<OwnedSemaphorePermit, LayerError> {
        let weight = (event.len() + 256).min(self.config.queue_bytes) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await;
        room.map_err(|_closed| ended())
    }

    pub(super) fn ask(&self, operation: Operation) {
        // The writer ends with the layer; who waits for a reply then learns that.
        let _ = self.operations.send(operation);
    }

    /// Whether something sent at this time has expired.
    pub(super) fn has_expired(&self, sent: f64) -> bool {
        unix_time() - sent > self.config.layer.expiry.as_secs_f64()
    }

    /// Reads a message of a channel that any process may read, and gives it to who waits.
    pub(super) fn popped(&self, channel: ChannelName, member: Bytes, score: f64, shard: usize) {
        if self.has_expired(score) {
            self.counters().expired.one();
            return;
        }
        match self.codec.read(member.clone()) {
            Err(error) => log_undecodable(&self.status, self.counters(), &channel, &error),
            Ok((envelope, _)) => {
                let popped = Popped { envelope, channel, member, score, shard };
                if let Err(popped) = self.demand.offer(popped) {
                    self.ask(Operation::Back(popped));
                }
            }
        }
    }

    async fn deliver(&self, name: &str, envelope: Envelope) {
        let Some(channel) = ChannelName::new(name).ok().filter(|name| self.groups.owns(name)) else {
            return self.counters().stray.one();
        };
        match channel.local().and_then(process_number).map(|number| self.members.numbered(number)) {
            Some(Some(group)) => self.groups.publish(&group, envelope).await,
            Some(None) => self.counters().stray.one(),
            // A full inbox has counted itself.
            None => {
                if let Err(LayerError::NoReceiver) = self.groups.send(&channel, envelope).await {
                    self.counters().stray.one();
                }
            }
        }
    }
}

/// What is said of a layer that is closed.
pub(super) fn ended() -> LayerError {
    LayerError::Unavailable("the layer has ended".into())
}

impl Deliver for Shared {
    type Source = Source;
    type Over = Over;

    async fn message(&self, bytes: Bytes, source: Source, _room: OwnedSemaphorePermit) {
        let Source::Queue { sent } = source else { return };
        if self.has_expired(sent) {
            return self.counters().expired.one();
        }
        match self.codec.read(bytes) {
            Err(error) => log_undecodable(&self.status, self.counters(), &self.process, &error),
            Ok((_, to)) if to.is_empty() => self.counters().stray.one(),
            Ok((envelope, to)) => {
                // Each has its own place to wait for; the next message comes after all have this one.
                for some in to.chunks(AT_ONCE) {
                    join_all(some.iter().map(|name| self.deliver(name, envelope.clone()))).await;
                }
            }
        }
    }

    fn groups(&self) -> &Groups {
        &self.groups
    }
}
