//! The limits of a channel's jobs.

use std::time::Duration;

/// How the jobs of a channel are done: how many at once, and for how long.
///
/// The [guide](crate::docs::guide#background-work) has an example of a worker.
#[derive(Debug, Clone)]
#[must_use]
pub struct JobLimits {
    pub(super) concurrency: usize,
    pub(super) timeout: Option<Duration>,
}

impl JobLimits {
    /// One job at a time, without a time limit.
    pub fn new() -> Self {
        Self { concurrency: 1, timeout: None }
    }

    /// How many jobs of the channel are done at once, each by a consumer of its own. Default 1, at least 1.
    ///
    /// With more than 1, jobs may end in any order.
    pub fn concurrency(mut self, consumers: usize) -> Self {
        self.concurrency = consumers.max(1);
        self
    }

    /// How long one job may take before it is cancelled. Default `None`: no limit.
    pub fn timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.timeout = time.into();
        self
    }
}

impl Default for JobLimits {
    fn default() -> Self {
        Self::new()
    }
}
