//! Times that several parts of the library share.

use std::time::Duration;

use tokio::time::Instant;

/// A hundred years: longer than any program runs.
///
/// It is short enough to be added to any instant. Settings cut `Duration::MAX` to this.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The instant so much later. A time that no clock reaches counts as [`FOREVER`].
///
/// Every time that a user sets is added by this function, because an instant that overflows panics.
pub(crate) fn after(start: Instant, time: Duration) -> Instant {
    start + time.min(FOREVER)
}

/// The instant so much later than now.
pub(crate) fn from_now(time: Duration) -> Instant {
    after(Instant::now(), time)
}

/// The pauses between attempts that fail. Each is twice as long as the one before, up to the longest.
#[derive(Debug, Clone)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait now. The next pause is longer.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Begins with the first pause again, after an attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(5));
        let times: Vec<_> = (0..5).map(|_| pauses.next().as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 5, 5]);
        pauses.reset();
        assert_eq!(pauses.next().as_secs(), 1);
    }
}
