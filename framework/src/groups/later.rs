//! Flushes that wait, so that one write takes more.
//!
//! They wait for an interval, always or only while the thread is behind.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::time::Instant;

/// The connections that wait for their flush, by interval. Routes set the intervals, so they are few.
#[derive(Default)]
pub(crate) struct Later {
    waiting: RefCell<Vec<(Duration, Vec<u32>)>>,
    /// When the last flush ended.
    last: Cell<Option<Instant>>,
    /// Whether the thread did little else than flush since the flush before.
    behind: Cell<bool>,
    /// Whether a route asks whether the thread is behind. If none does, no clock is read.
    watched: Cell<bool>,
}

impl Later {
    /// Adds the slot of a connection. True for the first slot of an interval: the caller then starts the interval.
    pub(super) fn push(&self, slot: u32, interval: Duration) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if let Some((_, slots)) = waiting.iter_mut().find(|(known, _)| *known == interval) {
            slots.push(slot);
            return false;
        }
        waiting.push((interval, vec![slot]));
        true
    }

    /// Takes the slots whose interval is over.
    pub(super) fn take(&self, interval: Duration) -> Vec<u32> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|(known, _)| *known == interval);
        at.map(|at| waiting.swap_remove(at).1).unwrap_or_default()
    }

    /// How many connections wait.
    #[cfg(feature = "testing")]
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().iter().map(|(_, slots)| slots.len()).sum()
    }

    /// `interval` if the thread is behind, zero otherwise.
    pub(super) fn interval_when_behind(&self, interval: Duration) -> Duration {
        self.watched.set(true);
        if self.behind.get() { interval } else { Duration::ZERO }
    }

    /// Notes that a flush begins. Returns the time if it is measured.
    pub(super) fn flush_begins(&self) -> Option<Instant> {
        self.watched.get().then(Instant::now)
    }

    /// Notes that a flush ended.
    ///
    /// The thread is behind if it flushed for more than three quarters of the time since the last flush ended.
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
    async fn a_thread_that_does_little_else_than_flush_is_behind() {
        pause();
        let later = Later::default();
        assert_eq!(later.interval_when_behind(INTERVAL), Duration::ZERO);
        flush(&later, 0, 10).await;
        flush(&later, 10, 10).await;
        assert_eq!(
            later.interval_when_behind(INTERVAL),
            Duration::ZERO,
            "half of its time went to other work"
        );
        flush(&later, 1, 10).await;
        assert_eq!(later.interval_when_behind(INTERVAL), INTERVAL);
        flush(&later, 5, 10).await;
        assert_eq!(later.interval_when_behind(INTERVAL), Duration::ZERO);
    }

    #[actix_web::test]
    async fn no_clock_is_read_if_no_route_asks() {
        assert!(Later::default().flush_begins().is_none());
    }
}
