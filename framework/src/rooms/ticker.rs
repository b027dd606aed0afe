//! The ticks of a room.

use std::{sync::Arc, thread::ThreadId, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{RoomError, RoomState, core::Core};
use crate::{shown::Shown, time::after};

/// Ticks until the room ends.
pub(super) struct Ticker<S: RoomState> {
    pub(super) core: Arc<Core<S>>,
    pub(super) home: ThreadId,
    pub(super) time: Time,
}

/// When the ticks of a room are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    period: Duration,
    /// All ticks are whole periods after this.
    start: Instant,
    /// When the last tick was due, whether it ran or failed.
    last: Instant,
    /// Up to when the state was told that time has passed.
    told: Instant,
}

impl Time {
    pub(super) fn new(period: Duration) -> Self {
        let start = Instant::now();
        Self { period, start, last: start, told: start }
    }

    /// When the next tick is due. Those that are missed are left out.
    fn next(&self) -> Instant {
        next_tick(self.start, self.period, Instant::now().max(self.last))
    }

    /// Notes a tick that is due. Returns how many were left out before it.
    fn note_due(&mut self, due: Instant) -> u64 {
        let elapsed = due - std::mem::replace(&mut self.last, due);
        let skipped = (elapsed.as_nanos() / self.period.as_nanos()).saturating_sub(1);
        skipped.try_into().unwrap_or(u64::MAX)
    }
}

impl<S: RoomState> Ticker<S> {
    pub(super) async fn run(mut self) {
        let mut failed = false;
        loop {
            let due = self.time.next();
            sleep_until(due).await;
            let skipped = self.time.note_due(due);
            if skipped > 0 {
                self.core.queue.counters().room_ticks_skipped.add(skipped);
            }
            match self.core.tick(due - self.time.told).await {
                Ok(pushed) => {
                    // The state has the time, whatever becomes of the events.
                    self.time.told = due;
                    failed = false;
                    pushed.sent().await;
                }
                Err(RoomError::Ended { .. }) => return,
                Err(error) => {
                    // The time of this tick is in the next one's.
                    self.core.queue.counters().room_ticks_skipped.one();
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(room = %self.core.room, error = %Shown(error), "a tick failed");
                    }
                }
            }
        }
    }
}

impl<S: RoomState> Drop for Ticker<S> {
    /// If the thread of this task ends, another one goes on.
    fn drop(&mut self) {
        if !self.core.is_over() {
            self.core.queue.homes.lost(self.home);
            self.core.spawn_ticker(self.time);
        }
    }
}

/// The first whole period after `now`.
fn next_tick(start: Instant, period: Duration, now: Instant) -> Instant {
    let since = now.saturating_duration_since(start).as_nanos();
    let next = (since / period.as_nanos() + 1) * period.as_nanos();
    after(start, Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)))
}
