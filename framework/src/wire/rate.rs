//! How many messages a second a client may send.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// A rate and a burst: the settings of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The time after which one token comes back.
    period: Duration,
    /// How far a full burst runs ahead of the clock.
    ahead: Duration,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        assert!(per_second > 0, "a rate of 0 messages a second would refuse all messages");
        let period = Duration::from_secs(1) / per_second;
        Self { period, ahead: period.saturating_mul(burst.saturating_sub(1)) }
    }
}

/// The bucket of one connection: the time at which it is full again.
#[derive(Debug)]
pub(crate) struct Bucket(Cell<Instant>);

impl Bucket {
    pub(crate) fn full() -> Self {
        Self(Cell::new(Instant::now()))
    }

    /// Takes one token. False if the bucket is empty.
    pub(crate) fn take(&self, rate: Rate) -> bool {
        let now = Instant::now();
        let full = self.0.get().max(now);
        let allowed = full - now <= rate.ahead;
        if allowed {
            self.0.set(full + rate.period);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let (rate, bucket) = (Rate::new(10, 3), Bucket::full());
        let taken = || (0..10).filter(|_| bucket.take(rate)).count();
        assert_eq!(taken(), 3);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(taken(), 2);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(taken(), 0);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(), 3, "unused tokens do not add up beyond the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_client_within_the_rate_is_never_refused() {
        let (rate, bucket) = (Rate::new(4, 1), Bucket::full());
        for _ in 0..1000 {
            assert!(bucket.take(rate));
            tokio::time::advance(Duration::from_millis(250)).await;
        }
    }
}
