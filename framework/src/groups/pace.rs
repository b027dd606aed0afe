//! How fast a drain closes its connections, and when their clients come back.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::time::FOREVER;

/// How fast a [`Drain`](crate::Drain) closes its connections.
///
/// It closes them in batches, so that not all clients come back at the same moment. By default the times follow from the
/// number of connections: about 2,500 come back a second, and of more than 150,000 a sixtieth. So 5,000 clients are back
/// within 5 s, and a single one within about a second. Times that are given stay as given.
///
/// | Connections | All are closed within | Each is asked to come back after | So all are back within |
/// |---|---|---|---|
/// | 1 to 100 | 0 s, together | 0.2 s to 1 s | 1 s |
/// | 1,000 | 0.4 s | 0.2 s to 1 s | 1.4 s |
/// | 5,000 | 2 s | 0.2 s to 2.2 s | 4.2 s |
/// | 50,000 | 5 s | 0.2 s to 20.2 s | 25.2 s |
/// | 150,000 or more | 5 s | 0.2 s to 60 s | 65 s |
///
/// `greenroom.js` adds up to a tenth of its time, and who finds no server tries again at times of its own.
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
    /// `None`: it follows from the number of connections.
    window: Option<Duration>,
    /// The shortest and the longest hint. `None`: they follow from the number of connections.
    retry: Option<(Duration, Duration)>,
}

/// So many clients come back a second, at the times that are not given.
///
/// A choice: one core has time left for TLS, for an application's `connect`, and for the connections that it has already.
const COME_BACK: f64 = 2500.0;
/// The longest window that is not given.
const LONGEST_WINDOW: Duration = Duration::from_secs(5);
/// The shortest hint that is not given. Another process, or a proxy, may need a moment to see that this one is leaving.
const SOONEST: Duration = Duration::from_millis(200);
/// The bounds of the longest hint that is not given.
const LATEST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Default for Pace {
    fn default() -> Self {
        Self { batch: 100, window: None, retry: None }
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

    /// The time in which all connections are closed. By default 1 s for each 2,500 connections, and no more than 5 s.
    /// It is at most half of the drain's deadline.
    ///
    /// The batches are spread evenly over this time. Each but the first comes up to one step later, at random.
    pub fn window(mut self, time: Duration) -> Self {
        self.window = Some(time.min(FOREVER));
        self
    }

    /// How long clients are asked to wait before they come back. By default 0.2 s to 1 s, and with more than 2,000
    /// connections up to 0.2 s and 1 s for each 2,500 of them, but no more than 60 s.
    ///
    /// Each client is told a random time between the two. A `Retry-After` is in whole seconds, rounded up.
    pub fn retry(mut self, shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.min(FOREVER);
        self.retry = Some((shortest, longest.clamp(shortest, FOREVER)));
        self
    }

    /// The number of batches for so many connections.
    pub(super) fn batches(&self, connections: usize) -> usize {
        connections.div_ceil(self.batch).max(1)
    }

    /// The window of a drain of so many connections with this deadline. Half of the deadline is left for the hooks.
    pub(super) fn window_within(&self, deadline: Duration, connections: usize) -> Duration {
        self.window.unwrap_or_else(|| time_for(connections).min(LONGEST_WINDOW)).min(deadline / 2)
    }

    /// How long one of so many clients should wait before it comes back.
    pub(super) fn hint(&self, connections: usize) -> Duration {
        let (shortest, longest) = self.retry_for(connections);
        shortest + jitter(longest - shortest)
    }

    /// The shortest and the longest hint for so many clients.
    fn retry_for(&self, connections: usize) -> (Duration, Duration) {
        self.retry.unwrap_or_else(|| {
            let (least, most) = LATEST;
            (SOONEST, (SOONEST + time_for(connections)).clamp(least, most))
        })
    }
}

/// The time in which so many clients can come back.
fn time_for(connections: usize) -> Duration {
    Duration::try_from_secs_f64(connections as f64 / COME_BACK).unwrap_or(FOREVER)
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
pub(crate) fn jitter(most: Duration) -> Duration {
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
        let within = |deadline| pace.window_within(Duration::from_secs(deadline), 1);
        assert_eq!([30, 10, 4, 0].map(within), [5, 5, 2, 0].map(Duration::from_secs));
    }

    #[test]
    fn the_default_times_follow_from_the_number_of_connections() {
        let pace = Pace::new();
        let millis = |time: Duration| time.as_millis();
        let minute = Duration::from_secs(60);
        let of = |connections| {
            let (shortest, longest) = pace.retry_for(connections);
            (millis(pace.window_within(minute, connections)), millis(shortest), millis(longest))
        };
        assert_eq!(of(0), (0, 200, 1000));
        assert_eq!(of(1), (0, 200, 1000));
        assert_eq!(of(100), (40, 200, 1000)); // one batch, so the window is not used
        assert_eq!(of(1000), (400, 200, 1000));
        assert_eq!(of(2000), (800, 200, 1000));
        assert_eq!(of(5000), (2000, 200, 2200));
        assert_eq!(of(50_000), (5000, 200, 20_200));
        assert_eq!(of(150_000), (5000, 200, 60_000));
        assert_eq!(of(usize::MAX), (5000, 200, 60_000));
    }

    /// The moments at which so many clients come back, in seconds from the start of the drain, sorted.
    fn arrivals(pace: &Pace, connections: usize) -> Vec<f64> {
        let batches = pace.batches(connections);
        let window = pace.window_within(Duration::from_secs(30), connections);
        let mut times = Vec::with_capacity(connections);
        for batch in 0..batches {
            let due = due(batch, batches, window);
            for _ in (batch..connections).step_by(batches) {
                times.push((due + pace.hint(connections)).as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        times
    }

    /// The most that come back within one second.
    fn most_in_a_second(arrivals: &[f64]) -> usize {
        let mut first = 0;
        let count = |(at, time): (usize, &f64)| {
            while arrivals[first] < time - 1.0 {
                first += 1;
            }
            at + 1 - first
        };
        arrivals.iter().enumerate().map(count).max().unwrap_or(0)
    }

    #[test]
    fn a_crowd_is_back_in_time_and_not_faster_than_a_server_can_take_it() {
        for (connections, within) in [(1, 1.0), (100, 1.0), (2500, 2.2), (5000, 4.2), (50_000, 25.2)] {
            let arrivals = arrivals(&Pace::new(), connections);
            assert_eq!(arrivals.len(), connections);
            let (first, last) = (arrivals[0], arrivals[connections - 1]);
            assert!(first >= 0.2 && last <= within + 0.001, "{connections}: {first} to {last}");
            // Chance adds some: the standard deviation of 2,500 is 50.
            let most = most_in_a_second(&arrivals);
            assert!(most <= 2500 + 300, "{connections}: {most} in a second");
        }
        // What the numbers would be if all came back at the pace of a few.
        let few = Pace::new().window(Duration::ZERO).retry(SOONEST, LATEST.0);
        assert_eq!(most_in_a_second(&arrivals(&few, 5000)), 5000);
    }

    #[test]
    fn given_times_stay_as_given_however_many_there_are() {
        let (two, three) = (Duration::from_secs(2), Duration::from_secs(3));
        for connections in [0, 1, 5000, 50_000] {
            assert_eq!(Pace::new().window(three).window_within(two * 30, connections), three);
            assert_eq!(Pace::new().retry(two, three).retry_for(connections), (two, three));
        }
        // One of the two can be given alone.
        assert_eq!(Pace::new().window(three).retry_for(5000).1, Duration::from_millis(2200));
        assert_eq!(Pace::new().retry(two, three).window_within(two * 30, 5000), two);
    }

    #[test]
    fn hints_stay_between_their_bounds_and_differ() {
        let pace = Pace::new().retry(Duration::from_secs(2), Duration::from_secs(3));
        let hints: Vec<_> = (0..50).map(|_| pace.hint(50_000).as_millis()).collect();
        assert!(hints.iter().all(|hint| (2000..=3000).contains(hint)), "{hints:?}");
        assert!(hints.iter().any(|hint| *hint != hints[0]));
        let same = Pace::new().retry(Duration::from_millis(3200), Duration::ZERO);
        assert_eq!(reason(same.hint(50_000)), "retry=3200ms");
        let endless = Pace::new().retry(Duration::MAX, Duration::MAX).window(Duration::MAX);
        assert_eq!(endless.hint(1), FOREVER);
        assert!(due(2, 3, endless.window_within(Duration::MAX, 1)) <= FOREVER);
    }
}
