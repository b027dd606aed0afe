//! The state that the threads of a core layer share, and its operations.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender, oneshot};

use super::{
    codec::{Codec, ReadMessage},
    config::RedisSettings,
    demand::{Demand, Popped},
    link::unix_time,
    log::{
        append::{Appending, Settled},
        entry::Place,
        publish::bring,
        store::RedisLogs,
    },
    names::{channel_key, process_number, shard_of, stands_for_process},
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
    pub(super) codec: Arc<Codec>,
    pub(super) logs: Arc<RedisLogs>,
    pub(super) demand: Demand,
    /// `specific.<process>!`, the name of the queue of this process.
    pub(super) process: String,
    /// How often the memberships of this process are written anew.
    pub(super) renewal: Duration,
    pub(super) operations: UnboundedSender<CoreOperation>,
}

/// The shared state of a core layer.
pub(super) type CoreShared = server::shared::Shared<Core>;

/// What comes to the thread that delivers.
#[derive(Debug)]
pub(in crate::layers) enum CoreSource {
    /// An event of this process, of which it is known now whether it is in the log of its group.
    Own(Box<Settled>),
    /// A message from the queue of this process that was sent at this time. It names its recipients itself.
    Queue(f64),
}

/// A request to the writer.
///
/// A request with an event holds its place in the bound on bytes. The number of the others is bounded by the
/// groups, and by the callers that wait for a reply.
#[derive(Debug)]
pub(in crate::layers) enum CoreOperation {
    /// Append the event to the log of its group, and write it to the members in other processes.
    Append(Box<Appending>, OwnedSemaphorePermit),
    /// Write the event to the members of a group in other processes. `is_transient` says that the log of the group does
    /// not keep it.
    Publish { publication: Publication, is_transient: bool },
    /// Give an event of so many bytes to those of these names that this process has not put into the group itself.
    Strays { group: GroupName, names: Vec<String>, envelope: Envelope, bytes: usize },
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
            Ok(ReadMessage { envelope, .. }) => {
                let popped = Popped { envelope, channel, member, score, shard };
                if let Err(popped) = self.driver.demand.offer(popped) {
                    self.tell(CoreOperation::Back(popped));
                }
            }
        }
    }

    /// Hands an entry of a log, which came in so many bytes, to the members of its group in this process.
    pub(super) async fn deliver_logged(
        &self,
        group: &GroupName,
        place: Place,
        message: ReadMessage,
        bytes: usize,
    ) {
        let ReadMessage { envelope, mut to, except } = message;
        // The name that stands for all members is served by the log. Others are consumers that another program has put
        // into the group, or members that have names of their own.
        to.retain(|name| !stands_for_process(name));
        if !to.is_empty() {
            let (group, envelope) = (group.clone(), envelope.clone());
            self.tell(CoreOperation::Strays { group, names: to, envelope, bytes });
        }
        bring(self.groups.directory(), group, place, except, envelope, false, |_| ()).await;
    }

    /// Hands a message from the queue of this process to one of its recipients. If that is a group, the members in
    /// `except` do not get it. `foreign` is the mark of a message from a program that keeps no log.
    pub(super) async fn deliver(
        &self,
        name: &str,
        envelope: Envelope,
        except: &[ChannelName],
        foreign: Option<f64>,
    ) {
        let Some(channel) = ChannelName::new(name).ok().filter(|name| self.groups.owns(name)) else {
            return self.counters().stray.one();
        };
        match channel.local().and_then(process_number).map(|number| self.members.numbered(number)) {
            Some(Some(group)) => match foreign.filter(|_| self.config.layer.history_of(&group).is_some()) {
                Some(sent) => {
                    let directory = self.groups.directory();
                    let mark = directory.publish_foreign(&group, except, envelope, sent).await;
                    self.driver.logs.note(&group, mark);
                }
                None => drop(self.groups.publish_except(&group, except, envelope, false).await),
            },
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
