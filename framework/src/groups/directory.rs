//! The process-wide part of a layer's groups: which workers have members, and of which classes.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    Delivery,
    fan_out::{Class, Parcel},
    hub,
    queue::{Refused, WorkerQueue},
};
use crate::{
    ChannelName, Envelope, GroupName,
    layers::{LayerConfig, LayerError, queues::Queues},
    metrics::Counters,
};

const SHARDS: usize = 16;

/// The in-process part that every layer has: its groups and its queues.
///
/// Locks: a shard's lock is held for a look-up or an edit of one entry, never over user code, a wake
/// or an await.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Unique in the process: hubs are found by it.
    id: u64,
    hasher: RandomState,
    shards: [Mutex<HashMap<GroupName, Arc<Entry>>>; SHARDS],
    /// The queues of all hubs, for finding the one that a channel's name leads to.
    hubs: Mutex<Vec<Weak<WorkerQueue>>>,
    pub(crate) config: LayerConfig,
    pub(crate) counters: Counters,
    pub(crate) queues: Queues,
}

/// Who is concerned by a send to one group. Read as a snapshot; changed by copy.
#[derive(Debug, Clone, Default)]
struct Entry {
    targets: SmallVec<[Target; 1]>,
    /// Queues that a program reads, with the time of their last `group_add` (rules 26 and 27).
    queues: Vec<(ChannelName, Instant)>,
}

/// One worker with members in the group.
#[derive(Debug, Clone)]
struct Target {
    queue: Arc<WorkerQueue>,
    classes: SmallVec<[Class; 1]>,
}

impl Directory {
    pub(crate) fn new(config: LayerConfig) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            hasher: RandomState::new(),
            shards: Default::default(),
            hubs: Mutex::default(),
            queues: Queues::new(&config),
            counters: Counters::default(),
            config,
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn add_hub(&self, queue: &Arc<WorkerQueue>) {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.retain(|known| known.strong_count() > 0);
        hubs.push(Arc::downgrade(queue));
    }

    /// The queue of the hub with this id, if its thread still runs.
    pub(crate) fn hub(&self, id: u64) -> Option<Arc<WorkerQueue>> {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.iter().filter_map(Weak::upgrade).find(|queue| queue.id() == id)
    }

    fn shard(&self, group: &GroupName) -> MutexGuard<'_, HashMap<GroupName, Arc<Entry>>> {
        let at = self.hasher.hash_one(group.as_str()) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a group's entry in place, and forgets it where nobody is left in it.
    fn edit(&self, group: &GroupName, change: impl FnOnce(&mut Entry)) {
        let mut shard = self.shard(group);
        let entry = shard.entry(group.clone()).or_default();
        change(Arc::make_mut(entry));
        if entry.targets.is_empty() && entry.queues.is_empty() {
            shard.remove(group);
        }
    }

    /// Notes that a worker has its first member of a class.
    pub(super) fn enter(&self, group: &GroupName, queue: &Arc<WorkerQueue>, class: Class) {
        self.edit(group, |entry| {
            match entry.targets.iter_mut().find(|target| target.queue.id() == queue.id()) {
                Some(target) => target.classes.push(class),
                None => entry
                    .targets
                    .push(Target { queue: Arc::clone(queue), classes: SmallVec::from_slice(&[class]) }),
            }
        });
    }

    /// Notes that a worker has no member of a class any more.
    pub(super) fn leave(&self, group: &GroupName, queue: &WorkerQueue, class: &Class) {
        self.edit(group, |entry| {
            for target in &mut entry.targets {
                if target.queue.id() == queue.id() {
                    target.classes.retain(|known| *known != *class);
                }
            }
            entry.targets.retain(|target| !target.classes.is_empty());
        });
    }

    /// Adds a queue to a group, or renews its time.
    pub(crate) fn add_queue(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let limit = self.config.group_queues;
        let mut full = false;
        self.edit(group, |entry| {
            let now = Instant::now();
            match entry.queues.iter().position(|(known, _)| known == channel) {
                Some(at) => entry.queues[at].1 = now,
                None if entry.queues.len() >= limit => full = true,
                None => entry.queues.push((channel.clone(), now)),
            }
        });
        if full { Err(LayerError::TooManyQueues { limit }) } else { Ok(()) }
    }

    /// Takes a queue out of a group; nothing happens where it is not in it (rule 26).
    pub(crate) fn remove_queue(&self, group: &GroupName, channel: &ChannelName) {
        self.edit(group, |entry| entry.queues.retain(|(known, _)| known != channel));
    }

    /// Forgets every queue of every group. Members stay: they leave when their connection ends.
    pub(crate) fn flush(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, entry| {
                let entry = Arc::make_mut(entry);
                entry.queues.clear();
                !entry.targets.is_empty()
            });
        }
        self.queues.clear();
    }

    /// Hands `envelope` to every member of `group`, waiting only where a bound is reached.
    ///
    /// `count` waits for the other workers, and says how far the event got.
    pub(crate) async fn publish(&self, group: &GroupName, envelope: Envelope, count: bool) -> Delivery {
        let Some(entry) = self.shard(group).get(group).cloned() else { return Delivery::default() };
        let classes = entry.targets.iter().flat_map(|target| &target.classes);
        let parcel = Parcel::new(envelope, classes, &self.counters);
        let mut sum = self.publish_to_queues(group, &entry, &parcel);
        let mut replies: SmallVec<[oneshot::Receiver<Delivery>; 4]> = SmallVec::new();
        for target in &entry.targets {
            if let Some(delivery) = hub::deliver_here(&target.queue, group, &parcel).await {
                sum.add(delivery);
                continue;
            }
            let (reply, receiver) = if count { Some(oneshot::channel()).unzip() } else { (None, None) };
            match target.queue.deliver(group.clone(), parcel.clone(), reply).await {
                Ok(()) => replies.extend(receiver),
                Err(Refused::Gone) => {}
                Err(Refused::Behind) => {
                    self.counters.worker_behind.one();
                    tracing::warn!(%group, "a worker's queue was full until the deadline, its members miss an event");
                    sum.workers_behind += 1;
                }
            }
        }
        for reply in replies {
            // A worker that ended in between delivered to nobody.
            sum.add(reply.await.unwrap_or_default());
        }
        sum
    }

    fn publish_to_queues(&self, group: &GroupName, entry: &Entry, parcel: &Parcel) -> Delivery {
        let mut sum = Delivery::default();
        if entry.queues.is_empty() {
            return sum;
        }
        let now = Instant::now();
        for (channel, added) in &entry.queues {
            if now.duration_since(*added) >= self.config.group_expiry {
                self.remove_queue(group, channel);
                continue;
            }
            match self.queues.push(channel, parcel.envelope.clone(), &self.config, &self.counters) {
                Ok(()) => sum.delivered += 1,
                // Rule 23: a full destination drops the event, it does not fail the send.
                Err(error) => {
                    sum.dropped += 1;
                    tracing::info!(%group, %channel, %error, "a member of a group missed an event");
                }
            }
        }
        sum
    }

    /// How many groups have members: zero when everyone has left.
    pub(crate) fn group_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}
