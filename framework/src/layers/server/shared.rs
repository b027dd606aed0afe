//! The state that the threads of a layer share.
//!
//! These are the threads of its callers, the driver's thread, and the thread that delivers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Acquire},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::{
    config::Common,
    inbound::InboundSender,
    members::Members,
    status::{Status, ended},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    groups::changes::MemberChanges,
    layers::{Groups, LayerError},
    metrics::Counters,
    shown::Shown,
};

/// The state of one layer.
///
/// One part is the same for every server, and the driver adds its own.
#[derive(Debug)]
pub(in crate::layers) struct Shared<D> {
    pub(in crate::layers) config: Common,
    pub(in crate::layers) groups: Groups,
    pub(in crate::layers) status: Status,
    pub(in crate::layers) members: Members,
    /// For each shard, how many joins and leaves of members it knows, if it is told of each.
    pub(in crate::layers) told: Vec<AtomicU64>,
    /// The bytes that may still be given to events which wait to be written.
    room: Arc<Semaphore>,
    pub(in crate::layers) stop: Notify,
    /// Whether the driver's thread has ended.
    pub(super) ended: watch::Sender<bool>,
    pub(in crate::layers) driver: D,
}

/// Which process receives from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Owner {
    /// Only one other process.
    Another,
    /// Any process.
    Any,
    /// Only this process: the channel is a consumer's, or a queue's.
    This,
}

/// Groups that have got their first member in this process or lost their last one.
///
/// Each has its number.
pub(in crate::layers) struct Changes {
    pub(in crate::layers) joined: Vec<(GroupName, u64)>,
    pub(in crate::layers) left: Vec<(GroupName, u64)>,
}

impl<D> Shared<D> {
    pub(super) fn new(config: Common, groups: Groups, status: Status, driver: D) -> Self {
        Self {
            groups,
            members: Members::default(),
            told: (0..status.len()).map(|_| AtomicU64::new(0)).collect(),
            room: Arc::new(Semaphore::new(config.queue_bytes)),
            stop: Notify::new(),
            ended: watch::Sender::new(false),
            status,
            config,
            driver,
        }
    }

    pub(in crate::layers) fn counters(&self) -> &Counters {
        &self.groups.directory().counters
    }

    pub(in crate::layers) fn owner(&self, channel: &ChannelName) -> Owner {
        match channel.local() {
            None => Owner::Any,
            Some(_) if self.groups.owns(channel) => Owner::This,
            Some(_) => Owner::Another,
        }
    }

    /// Waits for a place in the bound on bytes.
    ///
    /// The events that hold the places are written, or fail, in the time that the server may take to answer.
    pub(in crate::layers) async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LayerError> {
        let weight = (bytes + 256).min(self.config.queue_bytes) as u32;
        Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_closed| ended())
    }

    /// Hands an event to the members of a group in this process but `except`. Without `count` it returns no counts.
    pub(in crate::layers) async fn serve_here(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        let delivery = self.groups.publish_except(group, except, envelope, count).await;
        if count { delivery } else { Delivery::default() }
    }

    /// Whether the server knows of the members of a group in this process. `shard` is the group's.
    pub(super) fn is_settled_on(&self, group: &GroupName, shard: impl FnOnce() -> usize) -> bool {
        match self.groups.directory().members() {
            Some(changes) => self.told[shard()].load(Acquire) >= changes.count(),
            None => self.members.is_settled(group) == Some(true),
        }
    }

    /// Waits until the server knows of a group's members in this process.
    ///
    /// The wait also ends if the group's shard is away.
    pub(super) async fn settled_on(&self, group: &GroupName, shard: usize) {
        // If the server is told of each member, this waits for all changes so far.
        let wanted = self.groups.directory().members().map(MemberChanges::count);
        let settled = || match (wanted, self.members.is_settled(group)) {
            (Some(wanted), _) => self.told[shard].load(Acquire) >= wanted,
            (None, Some(settled)) => settled,
            (None, None) => !self.groups.has_members(group),
        };
        self.members.wait_until(&self.status, || settled() || !self.status.is_up(shard)).await;
    }

    /// Opens the log of a group that has got a member by its channel. A consumer that joins by itself does so too.
    pub(in crate::layers) async fn open_log(&self, group: &GroupName) {
        let directory = self.groups.directory();
        if let Some(log) = directory.logs.of(&directory.config, group) {
            directory.open(&log).await;
        }
    }

    /// Adds groups that now have members, and removes those that have none any more.
    pub(in crate::layers) fn note_changes(&self, changed: Vec<GroupName>) -> Changes {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for group in changed {
            let has_members = || self.groups.has_members(&group);
            if let Some(number) = self.members.remove(&group, has_members) {
                if let Some(log) = self.groups.directory().logs.find(&group) {
                    log.close();
                }
                left.push((group, number));
            } else if has_members()
                && let Some(number) = self.members.insert(&group)
            {
                joined.push((group, number));
            }
        }
        Changes { joined, left }
    }

    /// Tells the members of some groups how long the server was away.
    pub(in crate::layers) async fn tell_gap<S, O>(
        &self,
        inbox: &InboundSender<S, O>,
        groups: Vec<GroupName>,
        away: Duration,
    ) {
        self.counters().reconnected.one();
        inbox.gap(groups, away.as_secs_f64()).await;
    }

    /// Counts a message that could not be read. This is logged at most once a minute.
    pub(in crate::layers) fn log_undecodable(&self, from: &str, error: &impl fmt::Display) {
        self.counters().undecodable.one();
        if let Some(more) = self.status.logs("undecodable") {
            tracing::warn!(from = ?Shown(from), error = %Shown(error), more, "a message from the layer's server cannot be read, and is dropped");
        }
    }
}
