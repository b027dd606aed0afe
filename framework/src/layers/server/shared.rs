//! What the threads of a layer share: its callers', the one that speaks with the server, and the one that delivers.

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
};

/// The state of one layer: the same for every server, and what its driver adds.
#[derive(Debug)]
pub(in crate::layers) struct Shared<D> {
    pub(in crate::layers) config: Common,
    pub(in crate::layers) groups: Groups,
    pub(in crate::layers) status: Status,
    pub(in crate::layers) members: Members,
    /// How many joins and leaves of members the server was told of, if it is told of each.
    pub(in crate::layers) told: AtomicU64,
    /// The bytes that may wait to be written.
    room: Arc<Semaphore>,
    pub(in crate::layers) stop: Notify,
    /// Whether the thread has ended that speaks with the server.
    pub(super) ended: watch::Sender<bool>,
    pub(in crate::layers) driver: D,
}

/// Which process receives from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Owner {
    /// Another one: only that one.
    Another,
    /// Any process.
    Any,
    /// This one: a consumer of it, or one of its queues.
    This,
}

/// The groups that have got their first member here or lost their last one, with the numbers of their memberships.
pub(in crate::layers) struct Changes {
    pub(in crate::layers) joined: Vec<(GroupName, u64)>,
    pub(in crate::layers) left: Vec<(GroupName, u64)>,
}

impl<D> Shared<D> {
    pub(super) fn new(config: Common, groups: Groups, status: Status, driver: D) -> Self {
        Self {
            groups,
            status,
            members: Members::default(),
            told: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(config.queue_bytes)),
            stop: Notify::new(),
            ended: watch::Sender::new(false),
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

    /// A place in the bound on bytes. What is before it is written or fails in the time that the server may take to answer.
    pub(in crate::layers) async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LayerError> {
        let weight = (bytes + 256).min(self.config.queue_bytes) as u32;
        Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_closed| ended())
    }

    /// Hands an event to the members of a group in this process.
    pub(in crate::layers) async fn serve_here(
        &self,
        group: &GroupName,
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        if count {
            return self.groups.publish_counted(group, envelope).await;
        }
        self.groups.publish(group, envelope).await;
        Delivery::default()
    }

    /// Whether the server knows the members of a group that are here.
    pub(in crate::layers) fn is_settled(&self, group: &GroupName) -> bool {
        match self.groups.directory().members() {
            Some(changes) => self.told.load(Acquire) >= changes.count(),
            None => self.members.is_settled(group) == Some(true),
        }
    }

    /// Waits until the server knows the members of a group that are here, if it can: this shard is the group's.
    pub(super) async fn settled_on(&self, group: &GroupName, shard: usize) {
        // Each member by itself: then those that have joined so far.
        let wanted = self.groups.directory().members().map(MemberChanges::count);
        let settled = || match (wanted, self.members.is_settled(group)) {
            (Some(wanted), _) => self.told.load(Acquire) >= wanted,
            (None, Some(settled)) => settled,
            (None, None) => !self.groups.has_members(group),
        };
        self.members.wait_until(&self.status, || settled() || !self.status.is_up(shard)).await;
    }

    /// Takes up the groups that have members now, and forgets those that have none any more.
    pub(in crate::layers) fn note_changes(&self, changed: Vec<GroupName>) -> Changes {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for group in changed {
            let has_members = || self.groups.has_members(&group);
            if let Some(number) = self.members.remove(&group, has_members) {
                left.push((group, number));
            } else if has_members()
                && let Some(number) = self.members.insert(&group)
            {
                joined.push((group, number));
            }
        }
        Changes { joined, left }
    }

    /// Tells the members of some groups that the server was away for so long.
    pub(in crate::layers) async fn tell_gap<S, O>(
        &self,
        inbox: &InboundSender<S, O>,
        groups: Vec<GroupName>,
        away: Duration,
    ) {
        self.counters().reconnected.one();
        inbox.gap(groups, away.as_secs_f64()).await;
    }

    /// Counts a message that could not be read, and says so now and then.
    pub(in crate::layers) fn log_undecodable(&self, from: &str, error: &impl fmt::Display) {
        self.counters().undecodable.one();
        if let Some(more) = self.status.logs("undecodable") {
            tracing::warn!(from, %error, more, "a message of the layer's server cannot be read, and is dropped");
        }
    }
}
