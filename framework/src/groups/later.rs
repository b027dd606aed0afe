//! Flushes that wait, so that more leaves in one write: by an interval, or while the worker is behind.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;

use super::hub::Hub;
use crate::consumer::connection::Connection;

/// The connections whose flush waits, by interval: few, as routes have few.
#[derive(Default)]
pub(crate) struct Later {
    waiting: RefCell<Vec<(Duration, Vec<Rc<Connection>>)>>,
    /// When the last flush ended, and whether the worker did little else than flush since the one before.
    last: Cell<Option<Instant>>,
    behind: Cell<bool>,
    /// Whether a route asks for it: otherwise no clock is read.
    watched: Cell<bool>,
}

impl Later {
    /// Adds a connection; the first one of an interval starts its time.
    pub(super) fn push(&self, hub: &Rc<Hub>, connection: Rc<Connection>, interval: Duration) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some((_, connections)) = waiting.iter_mut().find(|(known, _)| *known == interval) {
            return connections.push(connection);
        }
        waiting.push((interval, vec![connection]));
        drop(waiting);
        let hub = Rc::clone(hub);
        actix_rt::spawn(async move {
            tokio::time::sleep(interval).await;
            hub.later.release(&hub, interval);
        });
    }

    /// How many wait.
    #[cfg(feature = "testing")]
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().iter().map(|(_, connections)| connections.len()).sum()
    }

    /// Hands those whose time is over to the flush.
    fn release(&self, hub: &Hub, interval: Duration) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(at) = waiting.iter().position(|(known, _)| *known == interval) else { return };
        let (_, connections) = waiting.swap_remove(at);
        drop(waiting);
        hub.dirty.borrow_mut().extend(connections);
        hub.wake_flusher();
    }

    /// The interval while the worker is behind, none otherwise.
    pub(super) fn interval_when_behind(&self, interval: Duration) -> Duration {
        self.watched.set(true);
        if self.behind.get() { interval } else { Duration::ZERO }
    }

    /// Before a flush.
    pub(super) fn flush_begins(&self) -> Option<Instant> {
        self.watched.get().then(Instant::now)
    }

    /// After it: behind is who flushed for more than three quarters of the time since the last one ended.
    pub(super) fn flush_ended(&self, began: Option<Instant>) {
        let Some(began) = began else { return };
        let now = Instant::now();
        if let Some(last) = self.last.replace(Some(now)) {
            let (flushing, all) = (now.duration_since(began), now.duration_since(last));
            self.behind.set(flushing * 4 > all * 3);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, pause};

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(5);

    async fn flush(later: &Later, idle: u64, flushing: u64) {
        advance(Duration::from_millis(idle)).await;
        let began = later.flush_begins();
        advance(Duration::from_millis(flushing)).await;
        later.flush_ended(began);
    }

    #[actix_web::test]
    async fn behind_is_who_does_little_else_than_flush() {
        pause();
        let later = Later::default();
        assert_eq!(later.interval_when_behind(INTERVAL), Duration::ZERO);
        flush(&later, 0, 10).await;
        flush(&later, 10, 10).await;
        assert_eq!(later.interval_when_behind(INTERVAL), Duration::ZERO, "half of its time is its own");
        flush(&later, 1, 10).await;
        assert_eq!(later.interval_when_behind(INTERVAL), INTERVAL);
        flush(&later, 5, 10).await;
        assert_eq!(later.interval_when_behind(INTERVAL), Duration::ZERO);
    }

    #[actix_web::test]
    async fn no_clock_is_read_for_nobody() {
        assert!(Later::default().flush_begins().is_none());
    }
}
