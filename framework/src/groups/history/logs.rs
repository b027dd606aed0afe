//! The logs of a layer in this process.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed},
    },
};

use tokio::time::Instant;

use super::{
    entry::{Draft, Entry},
    log::{LOG_BYTES, Log},
    policy::History,
    position::{Epoch, Position},
    store::LogStore,
    token::Secret,
};
use crate::{
    ChannelName, Envelope, GroupName,
    groups::config::LayerConfig,
    sync::{Mutex, MutexGuard},
};

/// The limit of the limit. There is no such memory, and sums with it stay in range.
const MOST_BYTES: isize = isize::MAX / 4;

/// The logs of a layer in this process, by group.
///
/// A log stays for as long as somebody may come back to it. The lock is held for a look-up or an edit. It may be held
/// while that of one log is taken, never the other way round.
#[derive(Debug)]
pub(crate) struct Logs {
    table: Mutex<LogTable>,
    /// The groups' policies: no group has one if this is empty.
    has_policies: bool,
    /// How many bytes all logs together may have.
    most_bytes: isize,
    /// How many they have. Each counts its own entries.
    bytes: Arc<AtomicIsize>,
    /// From so many bytes on the logs are to give some back.
    shrink_at: AtomicIsize,
    /// Where the logs are kept, if a server keeps them.
    store: OnceLock<Arc<dyn LogStore>>,
    /// What tokens are signed with.
    secret: OnceLock<Secret>,
    /// Whether nothing is added any more, because the logs are written to a file. Set with the table locked.
    are_frozen: AtomicBool,
}

#[derive(Debug, Default)]
struct LogTable {
    logs: HashMap<GroupName, Arc<Log>>,
    /// How many logs were made since the last sweep.
    made: usize,
}

impl Logs {
    pub(crate) fn new(config: &LayerConfig) -> Self {
        let most_bytes = isize::try_from(config.history_memory).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        Self {
            table: Mutex::default(),
            has_policies: !config.history.is_empty(),
            most_bytes,
            bytes: Arc::default(),
            shrink_at: AtomicIsize::new(most_bytes),
            store: OnceLock::new(),
            secret: OnceLock::new(),
            are_frozen: AtomicBool::new(false),
        }
    }

    /// Whether there are groups that keep their events.
    pub(crate) fn are_kept(&self) -> bool {
        self.has_policies
    }

    fn table(&self) -> MutexGuard<'_, LogTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the logs are kept. Called once, before the layer is used.
    #[cfg_attr(
        not(any(feature = "nats", feature = "redis", test)),
        expect(dead_code, reason = "no layer here has a server")
    )]
    pub(crate) fn keep_in(&self, store: Arc<dyn LogStore>) {
        // A second call would be a mistake of the layer, and changes nothing.
        let _ = self.store.set(store);
    }

    /// What tokens are signed with. Without a server it is made here. `None` if a server has not said it yet.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        if self.secret.get().is_none() && self.store.get().is_none() {
            // Another thread may be faster.
            let _ = self.secret.set(Secret::random()?);
        }
        self.secret.get()
    }

    /// Notes what the processes of the layer sign with. The first call counts.
    pub(crate) fn set_secret(&self, secret: Secret) {
        let _ = self.secret.set(secret);
    }

    /// Where the logs are kept, if a server keeps them.
    pub(crate) fn store(&self) -> Option<&Arc<dyn LogStore>> {
        self.store.get()
    }

    /// The policy of a group; `None` if it keeps nothing.
    pub(crate) fn policy(&self, config: &LayerConfig, group: &GroupName) -> Option<History> {
        if self.has_policies { config.history_of(group) } else { None }
    }

    /// The log of a group, if it is here.
    pub(crate) fn find(&self, group: &GroupName) -> Option<Arc<Log>> {
        if !self.has_policies {
            return None;
        }
        self.table().logs.get(group).cloned()
    }

    /// The log of a group, made if it is not here. `None` if the group keeps nothing.
    pub(crate) fn of(&self, config: &LayerConfig, group: &GroupName) -> Option<Arc<Log>> {
        let policy = self.policy(config, group)?;
        let mut gone = Vec::new();
        let log = {
            let mut table = self.table();
            if let Some(log) = table.logs.get(group) {
                return Some(Arc::clone(log));
            }
            table.made += 1;
            if table.made * 2 >= 128 + table.logs.len() {
                self.sweep(&mut table, &mut gone);
            }
            // A server says where its log ends. In memory a log begins when it is made.
            let top = self.store.get().is_none().then(|| Position::start(Epoch::fresh()));
            let log = Arc::new(Log::new(group.clone(), policy, top, &self.bytes));
            if self.are_frozen() {
                log.freeze();
            }
            table.logs.insert(group.clone(), Arc::clone(&log));
            log
        };
        drop(gone);
        self.bytes.fetch_add(LOG_BYTES as isize, Relaxed);
        self.check_bytes();
        Some(log)
    }

    /// All logs that are here.
    pub(crate) fn all(&self) -> Vec<Arc<Log>> {
        self.table().logs.values().cloned().collect()
    }

    /// Adds an event to a log that is only in this process. `None` if the logs are frozen.
    pub(crate) fn append(&self, log: &Log, envelope: Envelope, except: &[ChannelName]) -> Option<Arc<Entry>> {
        let entry = log.append(Draft::new(envelope, except))?;
        self.check_bytes();
        Some(entry)
    }

    /// From now on nothing is added to the logs.
    pub(super) fn freeze(&self) {
        let table = self.table();
        self.are_frozen.store(true, Relaxed);
        for log in table.logs.values() {
            log.freeze();
        }
    }

    /// Whether nothing is added to the logs any more.
    pub(crate) fn are_frozen(&self) -> bool {
        self.are_frozen.load(Relaxed)
    }

    /// Takes in a log that another process has left.
    pub(super) fn put(&self, group: GroupName, policy: History, base: Position, entries: Vec<Entry>) {
        let log = Log::kept(group, policy, base, entries, &self.bytes);
        self.table().logs.insert(log.group.clone(), Arc::new(log));
        self.bytes.fetch_add(LOG_BYTES as isize, Relaxed);
        self.check_bytes();
    }

    /// The logs to which somebody may come back.
    pub(super) fn kept(&self) -> Vec<Arc<Log>> {
        let now = Instant::now();
        let mut logs = self.all();
        logs.retain(|log| !log.is_over(now));
        logs
    }

    /// Called after entries have come. If there are too many, the logs with the oldest ones give back half of theirs.
    pub(crate) fn check_bytes(&self) {
        if self.bytes.load(Relaxed) > self.shrink_at.load(Relaxed) {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&self) {
        let most = self.most_bytes;
        // Another thread that comes here meanwhile leaves it to this one.
        self.shrink_at.store(isize::MAX, Relaxed);
        let mut gone = Vec::new();
        let mut logs = {
            let mut table = self.table();
            self.sweep(&mut table, &mut gone);
            table.logs.values().cloned().collect::<Vec<_>>()
        };
        drop(gone);
        // Each log is locked once for this.
        logs.sort_by_cached_key(|log| log.oldest());
        let enough = most - most / 16;
        for log in &logs {
            if self.bytes.load(Relaxed) <= enough {
                break;
            }
            log.shrink(true);
            self.give_up(log, 2);
        }
        // A thread that does not come to its members keeps their entries. Far above the limit they are told instead.
        let far = 2 * most + (logs.len() * LOG_BYTES) as isize;
        for log in logs.iter().take_while(|_| self.bytes.load(Relaxed) > far) {
            log.shrink(false);
        }
        // Logs with members stay, however many they are. To look at them all again must be worth it.
        let left = self.bytes.load(Relaxed);
        self.shrink_at.store(most.max(left + left / 16), Relaxed);
    }

    /// Takes out an empty log that has so many handles: the table's, and those of the caller. Who comes back to it is told.
    fn give_up(&self, log: &Arc<Log>, handles: usize) {
        let mut table = self.table();
        if Arc::strong_count(log) == handles && log.is_empty() {
            table.logs.remove(&log.group);
            self.bytes.fetch_sub(log.bytes() as isize, Relaxed);
        }
    }

    /// Takes out the logs that nobody holds and nobody can come back to.
    fn sweep(&self, table: &mut LogTable, gone: &mut Vec<Arc<Log>>) {
        table.made = 0;
        let now = Instant::now();
        let is_over = |log: &Arc<Log>| Arc::strong_count(log) == 1 && log.is_over(now);
        gone.extend(table.logs.extract_if(|_, log| is_over(log)).map(|(_, log)| log));
        let bytes: usize = gone.iter().map(|log| log.bytes()).sum();
        self.bytes.fetch_sub(bytes as isize, Relaxed);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
