//! How connections end when the server ends.
//!
//! They are closed in batches, and every `disconnect` runs, up to a deadline.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    pace::Pace,
    queue::{Call, HubQueue},
};

/// The connections that end together: usually all of one server.
///
/// Every [`Mount`](crate::Mount) uses the drain of the process, unless it is given another.
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Drain, run_with};
///
/// async fn serve(server: greenroom::Server, drain: Drain) -> std::io::Result<()> {
///     // Runs until a signal, or until someone calls `drain.drain(deadline)` on a clone. Then clients have 10 s.
///     run_with(server, drain, Duration::from_secs(10)).await
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Drain(Arc<DrainState>);

#[derive(Debug)]
struct DrainState {
    id: u64,
    pace: Pace,
    live: AtomicUsize,
    /// The rooms that are empty or that end.
    rooms: AtomicUsize,
    /// How many connections there were when the drain began. The hints of all follow from it.
    crowd: AtomicUsize,
    /// The connections, and the requests that may become one.
    places: AtomicUsize,
    /// The sessions of clients without a WebSocket.
    sessions: AtomicUsize,
    draining: AtomicBool,
    begun: Notify,
    /// The hubs that have, or had, a connection of this drain.
    hubs: Mutex<Vec<Weak<HubQueue>>>,
    empty: Notify,
}

impl DrainState {
    /// How long a client should wait before it comes back: with as many others as there are, or were.
    fn retry_hint(&self) -> Duration {
        self.pace.hint(self.live.load(SeqCst).max(self.crowd.load(SeqCst)))
    }
}

impl Drain {
    /// A new drain, for example for a second server in one process.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pace(Pace::new())
    }

    /// As [`new`](Self::new), with another [`Pace`].
    #[must_use]
    pub fn with_pace(pace: Pace) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(DrainState {
            id: NEXT.fetch_add(1, SeqCst),
            pace,
            live: AtomicUsize::new(0),
            rooms: AtomicUsize::new(0),
            crowd: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            begun: Notify::new(),
            hubs: Mutex::default(),
            empty: Notify::new(),
        }))
    }

    /// The drain that every mount of this process uses by default.
    #[must_use]
    pub fn process() -> Self {
        static PROCESS: LazyLock<Drain> = LazyLock::new(Drain::new);
        PROCESS.clone()
    }

    /// How many connections there are, including those that are closing.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.live.load(SeqCst)
    }

    /// Closes all connections with 1012, and waits until they have ended.
    ///
    /// A connection that has ended has run its `disconnect` and written its close frame. The frame's reason says when
    /// the client should come back: `retry=3200ms`. Connections are closed at the [`Pace`] of the drain. New ones are
    /// refused from now on, with 503 and a `Retry-After`. A drain cannot be undone: a server that [`run`](crate::run)
    /// runs with this drain stops.
    ///
    /// It also ends the [rooms](crate::rooms) whose members were among these connections, or that wait in their grace, and
    /// waits for their hook [`ended`](crate::RoomState::ended).
    ///
    /// Returns how many connections were left at the deadline. A second call only waits.
    pub async fn drain(&self, deadline: Duration) -> usize {
        let connections = self.connections();
        if !self.0.draining.swap(true, SeqCst) {
            // Before the first of them ends, so that the last ones are not asked back as if they were alone.
            self.0.crowd.store(connections, SeqCst);
            self.0.begun.notify_waiters();
            let hubs: Vec<_> = {
                let hubs = self.0.hubs.lock().unwrap_or_else(PoisonError::into_inner);
                hubs.iter().filter_map(Weak::upgrade).collect()
            };
            let batches = self.0.pace.batches(connections);
            let window = self.0.pace.window_within(deadline, connections);
            for hub in hubs {
                // An error means that the thread has ended, and its connections with it.
                let _ = hub.push(Call::CloseAll { drain: self.0.id, batches, window });
            }
        }
        let settled = tokio::time::timeout(deadline, self.settled()).await;
        let connections = self.connections();
        let rooms = self.0.rooms.load(SeqCst);
        if settled.is_err() && connections == 0 && rooms > 0 {
            tracing::warn!(
                rooms,
                ?deadline,
                "some rooms did not end in time: what their hook `ended` saves may be lost"
            );
        }
        connections
    }

    /// Whether new connections are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(SeqCst)
    }

    /// Waits until [`drain`](Self::drain) is called.
    pub(crate) async fn begun(&self) {
        let begun = self.0.begun.notified();
        if !self.is_draining() {
            begun.await;
        }
    }

    /// A new drain with the same pace.
    #[cfg(feature = "testing")]
    pub(crate) fn sibling(&self) -> Self {
        Self::with_pace(self.0.pace.clone())
    }

    /// How long a client should wait before it comes back.
    pub(crate) fn retry_hint(&self) -> Duration {
        self.0.retry_hint()
    }

    /// Waits until all connections have ended.
    #[cfg(feature = "testing")]
    pub(crate) async fn empty(&self) {
        self.until(|| self.connections() == 0).await;
    }

    /// Waits until all connections have ended, and the rooms that they leave empty.
    async fn settled(&self) {
        // A member of a room leaves it before its connection is not counted any more.
        self.until(|| self.connections() == 0 && self.0.rooms.load(SeqCst) == 0).await;
    }

    /// Waits until this holds. It is looked at again when the last connection or the last room has ended.
    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let empty = self.0.empty.notified();
            if holds() {
                return;
            }
            empty.await;
        }
    }

    /// Has the drain wait for a room, until the result is dropped.
    pub(crate) fn awaits_room(&self) -> RoomGuard {
        self.0.rooms.fetch_add(1, SeqCst);
        RoomGuard(Arc::clone(&self.0))
    }

    /// Takes a place for a connection. Returns `None` if `most` places are taken.
    ///
    /// It is taken before the middleware runs, so that no storm of requests passes the limit meanwhile.
    pub(crate) fn reserve(&self, most: usize) -> Option<ConnectionPlace> {
        take_one(&self.0.places, most).then(|| ConnectionPlace(Some(Arc::clone(&self.0))))
    }

    /// Takes a place for the session of a client without a WebSocket. Returns `None` if `most` places are taken.
    pub(crate) fn reserve_session(&self, most: usize) -> Option<SessionPlace> {
        take_one(&self.0.sessions, most).then(|| SessionPlace(Arc::clone(&self.0)))
    }
}

/// Adds one to a count that stays below or at `most`. Returns false if it is full.
fn take_one(count: &AtomicUsize, most: usize) -> bool {
    count.fetch_update(SeqCst, SeqCst, |taken| (taken < most).then_some(taken + 1)).is_ok()
}

/// A place for a connection that is not made yet. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct ConnectionPlace(Option<Arc<DrainState>>);

impl ConnectionPlace {
    /// Makes the place one of a connection of this hub. Returns `None` once the drain has begun.
    pub(crate) fn enter(mut self, hub: &Arc<HubQueue>) -> Option<DrainGuard> {
        let drain = self.0.take()?;
        {
            let mut hubs = drain.hubs.lock().unwrap_or_else(PoisonError::into_inner);
            if !hubs.iter().any(|known| known.as_ptr() == Arc::as_ptr(hub)) {
                hubs.retain(|known| known.strong_count() > 0);
                hubs.push(Arc::downgrade(hub));
            }
        }
        // Counted first: a drain that begins before the check below then waits for this connection.
        drain.live.fetch_add(1, SeqCst);
        let guard = DrainGuard(drain);
        (!guard.0.draining.load(SeqCst)).then_some(guard)
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        if let Some(drain) = self.0.take() {
            drain.places.fetch_sub(1, SeqCst);
        }
    }
}

/// The place of a session, until it is dropped.
#[derive(Debug)]
pub(crate) struct SessionPlace(Arc<DrainState>);

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, SeqCst);
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// One connection that a drain waits for, and its place.
#[derive(Debug)]
pub(crate) struct DrainGuard(Arc<DrainState>);

impl DrainGuard {
    pub(crate) fn drain_id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn retry_hint(&self) -> Duration {
        self.0.retry_hint()
    }

    pub(crate) fn drain(&self) -> Drain {
        Drain(Arc::clone(&self.0))
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        // The place is free first, so that a client who sees that a connection has ended can take its place.
        self.0.places.fetch_sub(1, SeqCst);
        if self.0.live.fetch_sub(1, SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

/// A room that a drain waits for.
#[derive(Debug)]
pub(crate) struct RoomGuard(Arc<DrainState>);

impl Drop for RoomGuard {
    fn drop(&mut self) {
        if self.0.rooms.fetch_sub(1, SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn the_last_client_of_a_crowd_is_asked_back_as_one_of_the_crowd() {
        let drain = Drain::new();
        let longest = || (0..200).map(|_| drain.retry_hint()).max().unwrap_or_default();
        drain.0.live.store(1, SeqCst);
        assert!(longest() <= Duration::from_secs(1));
        drain.0.live.store(50_000, SeqCst);
        assert_eq!(drain.drain(Duration::ZERO).await, 50_000);
        drain.0.live.store(1, SeqCst);
        assert!(longest() > Duration::from_secs(5), "{:?}", longest());
    }
}
