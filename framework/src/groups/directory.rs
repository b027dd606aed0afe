//! The directory of a process: which threads have members of a group, and of which classes.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    changes::{MemberChanges, Watch},
    config::LayerConfig,
    error::LayerError,
    fan_out::Class,
    history::logs::Logs,
    key::Key,
    queue::HubQueue,
    queues::Queues,
};
use crate::{
    ChannelName, GroupName,
    metrics::Counters,
    names::random_text,
    sync::{Mutex, MutexGuard},
};

const SHARDS: usize = 16;

/// The part of a layer that all threads of the process share: its groups and its queues.
///
/// Locks: a shard's lock is held for a look-up or an edit of one entry, never over user code, a wake or an await.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Unique in the process. A hub is found by the id of its directory.
    id: u64,
    /// 12 random characters, which tell the channels of this layer and process from all others.
    pub(crate) process: String,
    hasher: RandomState,
    shards: [Mutex<GroupShard>; SHARDS],
    /// The queues of all hubs. A channel's name contains the id of a hub, by which its queue is found.
    hubs: Mutex<Vec<Weak<HubQueue>>>,
    pub(crate) config: LayerConfig,
    pub(crate) counters: Counters,
    pub(crate) queues: Queues,
    pub(crate) logs: Logs,
    watch: Watch,
}

/// The groups that share one lock.
#[derive(Debug, Default)]
struct GroupShard {
    groups: HashMap<GroupName, Arc<GroupEntry>>,
    /// How many queues joined since the last sweep.
    joined: usize,
    /// How many queues the last sweep kept.
    kept: usize,
    watch: Watch,
}

/// The threads and queues that a send to one group goes to. Read as a snapshot; changed by copy.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupEntry {
    pub(super) threads: SmallVec<[MemberThread; 1]>,
    /// Queues that a program reads, with the time of their last `group_add`.
    pub(super) queues: Vec<(ChannelName, Instant)>,
}

/// One thread with members in the group.
#[derive(Debug, Clone)]
pub(super) struct MemberThread {
    pub(super) queue: Arc<HubQueue>,
    pub(super) classes: SmallVec<[Class; 1]>,
}

impl Directory {
    pub(crate) fn new(config: LayerConfig) -> Arc<Self> {
        Self::make(config, Watch::default())
    }

    /// A directory that notes which groups have members, for [`changed`](Self::changed).
    pub(crate) fn watched(config: LayerConfig) -> Arc<Self> {
        Self::make(config, Watch { groups: Some(Arc::default()), ..Watch::default() })
    }

    /// A directory that notes each member that joins or leaves, for [`members`](Self::members).
    #[cfg_attr(
        not(any(feature = "redis", test)),
        expect(dead_code, reason = "no layer here tells its server of each member")
    )]
    pub(crate) fn watched_members(config: LayerConfig) -> Arc<Self> {
        Self::make(config, Watch { members: Some(Arc::default()), ..Watch::default() })
    }

    fn make(config: LayerConfig, watch: Watch) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let shard = |_| Mutex::new(GroupShard { watch: watch.clone(), ..GroupShard::default() });
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            process: random_text(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(shard),
            hubs: Mutex::default(),
            queues: Queues::new(&config),
            logs: Logs::new(&config),
            counters: Counters::default(),
            config,
            watch,
        })
    }

    /// Waits for groups that got their first member or lost their last one, and returns them.
    ///
    /// Only one task may call this. If the directory is not [`watched`](Self::watched), the call waits for ever.
    pub(crate) async fn changed(&self) -> Vec<GroupName> {
        match &self.watch.groups {
            Some(changes) => changes.next().await,
            None => std::future::pending().await,
        }
    }

    /// The members that have joined or left, if the directory notes them.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis", test)),
        expect(dead_code, reason = "no layer here tells its server of each member")
    )]
    pub(crate) fn members(&self) -> Option<&MemberChanges> {
        self.watch.members.as_deref()
    }

    /// Notes that a consumer has joined a group, or left it.
    pub(super) fn note_consumer(&self, group: &GroupName, hub: u64, key: Key, is_in: bool) {
        self.watch.note_consumer(group, hub, key, is_in);
    }

    /// Whether a group has a member in this process.
    pub(crate) fn has_members(&self, group: &GroupName) -> bool {
        self.shard(group).groups.contains_key(group)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn add_hub(&self, queue: &Arc<HubQueue>) {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.retain(|known| known.strong_count() > 0);
        hubs.push(Arc::downgrade(queue));
    }

    /// The queue of the hub with this id, if its thread still runs.
    pub(crate) fn hub(&self, id: u64) -> Option<Arc<HubQueue>> {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.iter().filter_map(Weak::upgrade).find(|queue| queue.id() == id)
    }

    /// The queues of all hubs whose threads still run.
    #[cfg(feature = "testing")]
    pub(crate) fn all_hubs(&self) -> Vec<Arc<HubQueue>> {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.iter().filter_map(Weak::upgrade).collect()
    }

    /// The members of a group as they are now; `None` if there are none.
    pub(super) fn members_of(&self, group: &GroupName) -> Option<Arc<GroupEntry>> {
        self.shard(group).groups.get(group).cloned()
    }

    /// Takes the queues out of a group whose time in it is over.
    pub(super) fn expire_queues(&self, group: &GroupName, now: Instant) {
        self.edit(group, |entry| entry.expire(now, self.config.group_expiry, group, &self.watch));
    }

    fn shard(&self, group: &GroupName) -> MutexGuard<'_, GroupShard> {
        let at = self.hasher.hash_one(group.as_str()) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a group's entry in place, and removes it if no member is left.
    fn edit(&self, group: &GroupName, change: impl FnOnce(&mut GroupEntry)) {
        self.shard(group).edit(group, change);
    }

    /// Notes that a thread has its first member of a class.
    pub(super) fn enter(&self, group: &GroupName, queue: &Arc<HubQueue>, class: Class) {
        self.edit(group, |entry| {
            match entry.threads.iter_mut().find(|thread| thread.queue.id() == queue.id()) {
                Some(thread) => thread.classes.push(class),
                None => entry
                    .threads
                    .push(MemberThread { queue: Arc::clone(queue), classes: SmallVec::from_slice(&[class]) }),
            }
        });
    }

    /// Notes that a thread has no member of a class any more.
    pub(super) fn leave(&self, group: &GroupName, queue: &HubQueue, class: &Class) {
        self.edit(group, |entry| {
            for thread in &mut entry.threads {
                if thread.queue.id() == queue.id() {
                    thread.classes.retain(|known| *known != *class);
                }
            }
            entry.threads.retain(|thread| !thread.classes.is_empty());
        });
    }

    /// Adds a queue to a group, or renews its time.
    pub(crate) fn add_queue(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        let (limit, expiry) = (self.config.group_queues, self.config.group_expiry);
        let now = Instant::now();
        let (mut full, mut joined) = (false, false);
        let mut shard = self.shard(group);
        shard.edit(group, |entry| {
            if let Some(at) = entry.queues.iter().position(|(known, _)| known == channel) {
                entry.queues[at].1 = now;
                return;
            }
            if entry.queues.len() >= limit {
                entry.expire(now, expiry, group, &self.watch);
            }
            full = entry.queues.len() >= limit;
            joined = !full;
            if joined {
                entry.queues.push((channel.clone(), now));
                self.watch.note_queue(group, channel, true);
            }
        });
        if joined {
            shard.note_joined(now, expiry);
        }
        if full { Err(LayerError::TooManyQueues { limit }) } else { Ok(()) }
    }

    /// Takes a queue out of a group. Does nothing if it is not in it (rule 26: leaving twice is no error).
    pub(crate) fn remove_queue(&self, group: &GroupName, channel: &ChannelName) {
        self.edit(group, |entry| {
            if let Some(at) = entry.queues.iter().position(|(known, _)| known == channel) {
                entry.queues.remove(at);
                self.watch.note_queue(group, channel, false);
            }
        });
    }

    /// Takes all queues out of all groups. Connections stay until they end.
    pub(crate) fn flush(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let GroupShard { groups, watch, .. } = &mut *shard;
            groups.retain(|group, entry| {
                let entry = Arc::make_mut(entry);
                for (channel, _) in entry.queues.drain(..) {
                    watch.note_queue(group, &channel, false);
                }
                keep(group, entry, watch)
            });
        }
        self.queues.clear();
    }

    /// How many groups have members.
    pub(crate) fn group_count(&self) -> usize {
        let count = |shard: &Mutex<GroupShard>| {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.sweep(Instant::now(), self.config.group_expiry);
            shard.groups.len()
        };
        self.shards.iter().map(count).sum()
    }
}

impl GroupShard {
    /// Changes a group's entry in place, and removes it if no member is left.
    fn edit(&mut self, group: &GroupName, change: impl FnOnce(&mut GroupEntry)) {
        let entry = self.groups.entry(group.clone()).or_default();
        let was_empty = entry.is_empty();
        change(Arc::make_mut(entry));
        let is_empty = entry.is_empty();
        if is_empty {
            self.groups.remove(group);
        }
        if was_empty != is_empty {
            self.watch.note_group(group);
        }
    }

    /// Counts a queue that joined. Sweeps if the joins since the last sweep pay for the next one.
    fn note_joined(&mut self, now: Instant, expiry: Duration) {
        self.joined += 1;
        if self.joined * 2 >= 128 + self.groups.len() + self.kept {
            self.sweep(now, expiry);
        }
    }

    /// Takes out the queues whose time is over. A send would do so too, but perhaps none comes.
    fn sweep(&mut self, now: Instant, expiry: Duration) {
        self.joined = 0;
        self.kept = 0;
        let watch = &self.watch;
        self.groups.retain(|group, entry| {
            if entry.queues.iter().any(|(_, added)| is_over(*added, now, expiry)) {
                Arc::make_mut(entry).expire(now, expiry, group, watch);
            }
            self.kept += entry.queues.len();
            keep(group, entry, watch)
        });
    }
}

/// Whether a group still has members. If it has none, that is noted.
fn keep(group: &GroupName, entry: &GroupEntry, watch: &Watch) -> bool {
    if entry.is_empty() {
        watch.note_group(group);
    }
    !entry.is_empty()
}

impl GroupEntry {
    fn is_empty(&self) -> bool {
        self.threads.is_empty() && self.queues.is_empty()
    }

    /// Takes out the queues whose time is over (rule 27: a queue leaves on time).
    fn expire(&mut self, now: Instant, expiry: Duration, group: &GroupName, watch: &Watch) {
        self.queues.retain(|(channel, added)| {
            let over = is_over(*added, now, expiry);
            if over {
                watch.note_queue(group, channel, false);
            }
            !over
        });
    }
}

/// Whether the time of a queue in a group is over.
pub(super) fn is_over(added: Instant, now: Instant, expiry: Duration) -> bool {
    now.duration_since(added) >= expiry
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{Envelope, Event};

    #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
    struct Note;

    fn directory() -> Arc<Directory> {
        Directory::new(LayerConfig::new().group_expiry(Duration::from_secs(10)))
    }

    fn queue(number: usize) -> ChannelName {
        ChannelName::new(format!("queue-{number}")).unwrap()
    }

    /// How many groups are held, including those whose queues' time is over.
    fn held(directory: &Directory) -> usize {
        directory.shards.iter().map(|shard| shard.lock().unwrap().groups.len()).sum()
    }

    #[actix_web::test]
    async fn the_first_member_and_the_last_are_noted() {
        tokio::time::pause();
        let directory = Directory::watched(LayerConfig::new().group_expiry(Duration::from_secs(10)));
        let (room, hall) = (GroupName::new("room").unwrap(), GroupName::new("hall").unwrap());
        directory.add_queue(&room, &queue(1)).unwrap();
        assert_eq!(directory.changed().await, std::slice::from_ref(&room));
        assert!(directory.has_members(&room));
        directory.add_queue(&room, &queue(2)).unwrap();
        directory.remove_queue(&room, &queue(1));
        directory.remove_queue(&hall, &queue(1));
        assert!(
            directory.changed().now_or_never().is_none(),
            "the room has a member, as before, and the hall has none, as before"
        );
        directory.remove_queue(&room, &queue(2));
        assert_eq!(directory.changed().await, std::slice::from_ref(&room));
        assert!(!directory.has_members(&room));

        // Noted however a membership ends, and once for several changes.
        directory.add_queue(&room, &queue(1)).unwrap();
        directory.add_queue(&hall, &queue(1)).unwrap();
        directory.flush();
        let mut changed = directory.changed().await;
        changed.sort();
        assert_eq!(changed, [hall, room.clone()]);
        directory.add_queue(&room, &queue(1)).unwrap();
        directory.changed().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(directory.group_count(), 0);
        assert_eq!(directory.changed().await, [room]);
    }

    /// However a queue leaves its group, the directory notes it.
    #[actix_web::test]
    async fn members_that_come_and_go_are_noted() {
        tokio::time::pause();
        let config = LayerConfig::new().group_expiry(Duration::from_secs(10)).group_queues(2);
        let directory = Directory::watched_members(config);
        let room = GroupName::new("room").unwrap();
        let changed = || {
            let (mut groups, _) = directory.members().unwrap().take();
            let mut changed: Vec<_> = groups.remove(&room).unwrap_or_default().into_iter().collect();
            changed.sort_by_key(|(member, _)| format!("{member:?}"));
            changed
        };
        let told = |number, is_in| (super::super::changes::ChangedMember::Queue(queue(number)), is_in);
        directory.add_queue(&room, &queue(1)).unwrap();
        directory.add_queue(&room, &queue(1)).unwrap();
        assert_eq!(changed(), [told(1, true)], "once, however often it is renewed");
        directory.remove_queue(&room, &queue(2));
        assert_eq!(changed(), []);
        directory.remove_queue(&room, &queue(1));
        directory.add_queue(&room, &queue(2)).unwrap();
        assert_eq!(changed(), [told(1, false), told(2, true)]);

        // When its time is over: noticed by a send, at the limit of a group, and by a count.
        tokio::time::advance(Duration::from_secs(10)).await;
        directory.publish(&room, &[], Envelope::new(Note), true).await;
        assert_eq!(changed(), [told(2, false)]);
        for number in 1..=2 {
            directory.add_queue(&room, &queue(number)).unwrap();
        }
        changed();
        tokio::time::advance(Duration::from_secs(10)).await;
        directory.add_queue(&room, &queue(3)).unwrap();
        assert_eq!(changed(), [told(1, false), told(2, false), told(3, true)]);
        tokio::time::advance(Duration::from_secs(10)).await;
        directory.group_count();
        assert_eq!(changed(), [told(3, false)]);
        directory.add_queue(&room, &queue(1)).unwrap();
        changed();
        directory.flush();
        assert_eq!(changed(), [told(1, false)]);
        assert!(directory.changed().now_or_never().is_none(), "only members are noted, not groups");
    }

    #[actix_web::test]
    async fn a_queue_that_is_renewed_during_a_send_stays() {
        tokio::time::pause();
        let (directory, room) = (directory(), GroupName::new("room").unwrap());
        directory.add_queue(&room, &queue(1)).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        let read_by_a_send = directory.members_of(&room).unwrap();
        directory.add_queue(&room, &queue(1)).unwrap();
        directory.publish_to_queues(&room, &read_by_a_send, &[], &Envelope::new(Note));
        assert_eq!(directory.publish(&room, &[], Envelope::new(Note), true).await.delivered, 1);
    }

    #[actix_web::test]
    async fn groups_that_nobody_sends_to_are_forgotten() {
        tokio::time::pause();
        let directory = directory();
        for number in 0..20_000 {
            let room = GroupName::new(format!("room-{number}")).unwrap();
            directory.add_queue(&room, &queue(number)).unwrap();
            if number % 1_000 == 0 {
                tokio::time::advance(Duration::from_secs(10)).await;
            }
        }
        // A thousand are current. Each of the 16 shards may keep 128 more, and all together a thousand more.
        assert!(held(&directory) <= 1_000 + 16 * 128 + 1_000, "{} groups are held", held(&directory));
    }
}
