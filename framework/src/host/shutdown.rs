//! How connections end when the server does: closed with 1001, every `disconnect` run, up to a deadline.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::groups::{
    hub::Hub,
    queue::{Job, WorkerQueue},
};

/// The connections that end together: those of one server.
///
/// Every [`Mount`](crate::Mount) uses the one of the process, unless it is given another.
#[derive(Debug, Clone)]
pub struct Drain(Arc<State>);

#[derive(Debug)]
struct State {
    id: u64,
    live: AtomicUsize,
    draining: AtomicBool,
    /// The hubs that have, or had, a connection of this drain.
    hubs: Mutex<Vec<Weak<WorkerQueue>>>,
    empty: Notify,
}

impl Drain {
    /// A drain of its own, as for a second server in one process.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(State {
            id: NEXT.fetch_add(1, SeqCst),
            live: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            hubs: Mutex::default(),
            empty: Notify::new(),
        }))
    }

    /// The one that every mount of this process uses by default.
    #[must_use]
    pub fn process() -> Self {
        static PROCESS: LazyLock<Drain> = LazyLock::new(Drain::new);
        PROCESS.clone()
    }

    /// How many connections there are, those that close included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.live.load(SeqCst)
    }

    /// Closes all connections with 1001, and waits until they have ended.
    ///
    /// Each has then run its `disconnect` and written its close frame. New ones are refused with 503 from now on.
    /// Returns how many were left at the deadline.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.0.draining.store(true, SeqCst);
        let hubs: Vec<_> = {
            let hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
            hubs.iter().filter_map(Weak::upgrade).collect()
        };
        for hub in hubs {
            // A worker that has ended took its connections with it.
            let _ = hub.push(Job::CloseAll { drain: self.0.id });
        }
        let _ = tokio::time::timeout(deadline, self.empty()).await;
        self.connections()
    }

    /// Whether new connections are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(SeqCst)
    }

    /// Waits until there is no connection.
    pub(crate) async fn empty(&self) {
        loop {
            let empty = self.0.empty.notified();
            if self.connections() == 0 {
                return;
            }
            empty.await;
        }
    }

    /// Counts a new connection of a hub; `None` once the drain has begun.
    pub(crate) fn enter(&self, hub: &Hub) -> Option<Live> {
        {
            let mut hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
            if !hubs.iter().any(|known| known.as_ptr() == Arc::as_ptr(hub.queue())) {
                hubs.retain(|known| known.strong_count() > 0);
                hubs.push(Arc::downgrade(hub.queue()));
            }
        }
        // Counted before the look: a drain that begins in between sees this connection.
        self.0.live.fetch_add(1, SeqCst);
        let live = Live(Arc::clone(&self.0));
        (!self.is_draining()).then_some(live)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// One connection that a drain waits for.
#[derive(Debug)]
pub(crate) struct Live(Arc<State>);

impl Live {
    pub(crate) fn drain_id(&self) -> u64 {
        self.0.id
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}
