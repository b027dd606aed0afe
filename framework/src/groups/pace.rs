//! How fast a drain closes its connections, and when their clients come back.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::time::FOREVER;

/// How fast a [`Drain`](crate::Drain) closes its connections.
///
/// It closes them in batches, so that not all clients come back at the same moment.
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Drain, Pace};
///
/// // 100,000 connections are closed within 20 s. Each client comes back 5 to 60 s later.
/// let pace = Pace::new()
///     .batch(500)
///     .window(Duration::from_secs(20))
///     .retry(Duration::from_secs(5), Duration::from_secs(60));
/// let drain = Drain::with_pace(pace);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Pace {
    batch: usize,
    window: Duration,
    /// The shortest and the longest hint.
    retry: (Duration, Duration),
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch: 100,
            window: Duration::from_secs(5),
            retry: (Duration::from_secs(1), Duration::from_secs(10)),
        }
    }
}

impl Pace {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections are closed together, over all threads. Default 100, at least 1.
    ///
    /// If there are no more connections than this, all are closed at once. If there are more, the batches are spread
    /// over the [`window`](Self::window).
    pub fn batch(mut self, connections: usize) -> Self {
        self.batch = connections.max(1);
        self
    }

    /// The time in which all connections are closed. Default 5 s, and at most half of the drain's deadline.
    ///
    /// The batches are spread evenly over this time. Each but the first comes up to one step later, at random.
    pub fn window(mut self, time: Duration) -> Self {
        self.window = time.min(FOREVER);
        self
    }

    /// How long clients are asked to wait before they come back. Default 1 s to 10 s.
    ///
    /// Each client is told a random time between the two.
    pub fn retry(mut self, shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.min(FOREVER);
        self.retry = (shortest, longest.clamp(shortest, FOREVER));
        self
    }

    /// The number of batches for so many connections.
    pub(super) fn batches(&self, connections: usize) -> usize {
        connections.div_ceil(self.batch).max(1)
    }

    /// The window of a drain with this deadline. Half of the deadline is left for the hooks.
    pub(super) fn window_within(&self, deadline: Duration) -> Duration {
        self.window.min(deadline / 2)
    }

    /// How long one client should wait before it comes back.
    pub(super) fn hint(&self) -> Duration {
        let (shortest, longest) = self.retry;
        shortest + jitter(longest - shortest)
    }
}

/// The reason of a close frame that says when to come back, for example `retry=3200ms`.
pub(crate) fn reason(hint: Duration) -> String {
    format!("retry={}ms", hint.as_millis())
}

/// When a batch is closed, counted from the start of the drain.
///
/// The first is closed at once, each other one at a random time within its step.
pub(super) fn due(batch: usize, batches: usize, window: Duration) -> Duration {
    if batch == 0 {
        return Duration::ZERO;
    }
    let step = window.div_f64(batches as f64);
    step.mul_f64(batch as f64) + jitter(step)
}

/// A random time below `most`.
fn jitter(most: Duration) -> Duration {
    // Each hasher has its own random keys. That is random enough here: the time need not be secret.
    let random = RandomState::new().hash_one(0_u8);
    most.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_close_at_once_and_many_in_batches() {
        let pace = Pace::new().batch(100);
        assert_eq!([0, 1, 100, 101, 100_000].map(|count| pace.batches(count)), [1, 1, 1, 2, 1000]);
        assert_eq!(Pace::new().batch(0).batches(3), 3);
    }

    #[test]
    fn batches_are_spread_over_the_window_and_none_comes_after_it() {
        let window = Duration::from_secs(5);
        for batches in [1, 2, 7, 1000] {
            let step = window.as_secs_f64() / batches as f64;
            assert_eq!(due(0, batches, window), Duration::ZERO);
            for batch in 1..batches {
                let steps = due(batch, batches, window).as_secs_f64() / step;
                assert!(
                    (batch as f64 - 1e-3..batch as f64 + 1.0 + 1e-3).contains(&steps),
                    "{batch}: {steps}"
                );
            }
        }
        let times: Vec<_> = (0..20).map(|_| due(1, 2, window)).collect();
        assert!(times.iter().any(|time| *time != times[0]), "the times are random");
    }

    #[test]
    fn a_window_leaves_half_of_the_deadline_to_the_hooks() {
        let pace = Pace::new().window(Duration::from_secs(5));
        let within = |deadline| pace.window_within(Duration::from_secs(deadline));
        assert_eq!([30, 10, 4, 0].map(within), [5, 5, 2, 0].map(Duration::from_secs));
    }

    #[test]
    fn hints_stay_between_their_bounds_and_differ() {
        let pace = Pace::new().retry(Duration::from_secs(2), Duration::from_secs(3));
        let hints: Vec<_> = (0..50).map(|_| pace.hint().as_millis()).collect();
        assert!(hints.iter().all(|hint| (2000..=3000).contains(hint)), "{hints:?}");
        assert!(hints.iter().any(|hint| *hint != hints[0]));
        let same = Pace::new().retry(Duration::from_millis(3200), Duration::ZERO);
        assert_eq!(reason(same.hint()), "retry=3200ms");
        let endless = Pace::new().retry(Duration::MAX, Duration::MAX).window(Duration::MAX);
        assert_eq!(endless.hint(), FOREVER);
        assert!(due(2, 3, endless.window_within(Duration::MAX)) <= FOREVER);
    }
}
