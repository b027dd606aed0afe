//! The state of the servers, for all threads of a layer.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::layers::LayerError;

/// The least time between two log lines about the same kind of trouble.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// The reason why a closed layer is unavailable.
pub(super) const ENDED: &str = "the layer has ended";

/// The error of a layer that was closed.
pub(in crate::layers) fn ended() -> LayerError {
    LayerError::Unavailable(ENDED.to_owned())
}

/// The state of every shard. A layer that does not spread its names over several servers has one shard.
#[derive(Debug)]
pub(in crate::layers) struct Status {
    /// The name of the server in texts.
    server: &'static str,
    shards: Vec<ShardStatus>,
    pub(in crate::layers) changed: Notify,
    /// When each kind of trouble was logged last, and how often it was not since.
    logged: Mutex<Vec<(&'static str, Instant, u64)>>,
}

#[derive(Debug)]
struct ShardStatus {
    address: String,
    up: AtomicBool,
    /// Why the shard is away, or `None` until that is known. The lock is held only for a copy.
    reason: Mutex<Option<String>>,
}

impl Status {
    /// Makes the state of servers with this name and at these addresses. Both are only for texts.
    pub(in crate::layers) fn new(server: &'static str, addresses: impl IntoIterator<Item = String>) -> Self {
        let shard = |address| ShardStatus { address, up: AtomicBool::new(false), reason: Mutex::default() };
        let shards = addresses.into_iter().map(shard).collect();
        Self { server, shards, changed: Notify::new(), logged: Mutex::default() }
    }

    pub(in crate::layers) fn server(&self) -> &'static str {
        self.server
    }

    pub(in crate::layers) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(in crate::layers) fn is_up(&self, shard: usize) -> bool {
        self.shards[shard].up.load(Relaxed)
    }

    pub(in crate::layers) fn all_up(&self) -> bool {
        self.shards.iter().all(|shard| shard.up.load(Relaxed))
    }

    pub(in crate::layers) fn address(&self, shard: usize) -> &str {
        &self.shards[shard].address
    }

    pub(in crate::layers) fn set_up(&self, shard: usize) {
        *self.reason(shard) = None;
        self.shards[shard].up.store(true, Relaxed);
        self.changed.notify_waiters();
    }

    /// Notes why a shard is away. Returns false if that was known already.
    pub(in crate::layers) fn set_away(&self, shard: usize, reason: String) -> bool {
        let was_up = self.shards[shard].up.swap(false, Relaxed);
        let known = self.reason(shard).replace(reason.clone());
        self.changed.notify_waiters();
        was_up || known.is_none_or(|known| known != reason)
    }

    fn reason(&self, shard: usize) -> std::sync::MutexGuard<'_, Option<String>> {
        self.shards[shard].reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that says why nothing can be sent to a shard.
    pub(in crate::layers) fn away(&self, shard: usize) -> LayerError {
        let reason = self.reason(shard).clone();
        self.unavailable(shard, reason.as_deref().unwrap_or("it has not answered yet"))
    }

    /// The error that says that a shard could not do something, for this reason.
    pub(in crate::layers) fn unavailable(&self, shard: usize, reason: &str) -> LayerError {
        LayerError::Unavailable(format!("{}: {reason}", self.address(shard)))
    }

    /// Waits until every shard is connected. It is an error if an attempt has failed.
    pub(in crate::layers) async fn ready(&self) -> Result<(), LayerError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.all_up() {
                return Ok(());
            }
            let failed = (0..self.len()).find(|&shard| !self.is_up(shard) && self.reason(shard).is_some());
            if let Some(shard) = failed {
                return Err(self.away(shard));
            }
            changed.await;
        }
    }

    /// Says whether trouble of this kind is to be logged now.
    ///
    /// If so, it returns how often it was not logged since the last time.
    pub(in crate::layers) fn logs(&self, kind: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        match logged.iter_mut().find(|(known, ..)| *known == kind) {
            None => {
                logged.push((kind, now, 0));
                Some(0)
            }
            Some((_, last, suppressed)) if now.duration_since(*last) >= LOG_EVERY => {
                *last = now;
                Some(std::mem::take(suppressed))
            }
            Some((_, _, suppressed)) => {
                *suppressed += 1;
                None
            }
        }
    }
}
