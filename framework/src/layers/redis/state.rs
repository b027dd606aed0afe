//! The state that the threads of a core layer share, and its operations.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender, oneshot};

use super::{
    codec::Codec,
    config::RedisSettings,
    demand::{Demand, Popped},
    link::unix_time,
    names::{channel_key, process_number, shard_of},
    told::Piece,
};
use crate::{
    ChannelName, Envelope, GroupName,
    layers::{
        LayerError,
        server::{self, driver::Publication},
    },
};

/// The state of one [`RedisLayer`](super::RedisLayer), and the driver of its kind.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: RedisSettings,
    pub(super) codec: Codec,
    pub(super) demand: Demand,
    /// `specific.<process>!`, the name of the queue of this process.
    pub(super) process: String,
    /// How often the memberships of this process are written anew.
    pub(super) renewal: Duration,
    pub(super) operations: UnboundedSender<CoreOperation>,
}

/// The shared state of a core layer.
pub(super) type CoreShared = server::shared::Shared<Core>;

/// A request to the writer.
///
/// A request with an event holds its place in the bound on bytes. The number of the others is bounded by the
/// groups, and by the callers that wait for a reply.
#[derive(Debug)]
pub(in crate::layers) enum CoreOperation {
    /// Write the event to the members of a group in other processes.
    Publish(Publication),
    /// Write the event to one channel.
    Send {
        channel: ChannelName,
        event: Bytes,
        reply: oneshot::Sender<Result<(), LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// Put a channel of another process, or of any process, into a group, or take it out.
    Member {
        group: GroupName,
        channel: ChannelName,
        is_in: bool,
        reply: oneshot::Sender<Result<(), LayerError>>,
    },
    /// Put this process into a group.
    Join { group: GroupName, number: u64 },
    /// Take this process out of a group.
    Leave { group: GroupName, number: u64 },
    /// Tell Redis which members have joined and left.
    Members,
    /// Write these names into their group again.
    Renew(Piece),
    /// Take messages of a channel for the callers that wait.
    Want(ChannelName),
    /// Put a message back for which no caller waits any more.
    Back(Popped),
    /// Delete all keys of the prefix.
    Flush { reply: oneshot::Sender<Result<(), LayerError>> },
    /// Reply when all earlier requests are written, or have failed.
    Written { reply: oneshot::Sender<()> },
}

impl CoreShared {
    /// The key of the queue of this process.
    pub(super) fn queue_key(&self) -> String {
        channel_key(&self.config.prefix, &self.driver.process)
    }

    /// Whether events to a group reach this process only if this shard is connected.
    ///
    /// It is so for the group's shard, and for the shard that has the queue of this process.
    pub(super) fn rests_on(&self, group: &GroupName, shard: usize) -> bool {
        shard == shard_of(&self.driver.process, self.status.len()) || shard == self.group_shard(group)
    }

    /// Whether a message that was sent at this time has expired.
    pub(super) fn has_expired(&self, sent: f64) -> bool {
        unix_time() - sent > self.config.layer.expiry.as_secs_f64()
    }

    /// Gives a message of a channel of any process to a caller that waits.
    pub(super) fn popped(&self, channel: ChannelName, member: Bytes, score: f64, shard: usize) {
        if self.has_expired(score) {
            self.counters().expired.one();
            return;
        }
        match self.driver.codec.read(member.clone()) {
            Err(error) => self.log_undecodable(&channel, &error),
            Ok((envelope, _)) => {
                let popped = Popped { envelope, channel, member, score, shard };
                if let Err(popped) = self.driver.demand.offer(popped) {
                    self.tell(CoreOperation::Back(popped));
                }
            }
        }
    }

    /// Hands a message from the queue of this process to one of its recipients.
    pub(super) async fn deliver(&self, name: &str, envelope: Envelope) {
        let Some(channel) = ChannelName::new(name).ok().filter(|name| self.groups.owns(name)) else {
            return self.counters().stray.one();
        };
        match channel.local().and_then(process_number).map(|number| self.members.numbered(number)) {
            Some(Some(group)) => self.groups.publish(&group, envelope).await,
            Some(None) => self.counters().stray.one(),
            // A full inbox has counted the loss itself.
            None => {
                if let Err(LayerError::NoReceiver) = self.groups.send(&channel, envelope).await {
                    self.counters().stray.one();
                }
            }
        }
    }
}
