use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::StoreError;
use crate::{Error, shown::Shown};

/// After a failure was logged, no other one is logged for this long, even if lookups succeed in between.
const SILENCE: Duration = Duration::from_secs(10);

/// Logs once that lookups fail, and once that they succeed again.
pub(super) struct Health {
    of: &'static str,
    /// Locked only to look at it or change it: nothing is logged under the lock.
    state: Mutex<HealthState>,
}

#[derive(Default)]
struct HealthState {
    /// Whether a failure was logged, and no success after it.
    reported: bool,
    /// When the last failure was logged.
    at: Option<Instant>,
}

impl Health {
    pub(super) fn new(of: &'static str) -> Self {
        Self { of, state: Mutex::default() }
    }

    /// Notes that a lookup has failed.
    pub(super) fn failed(&self, error: StoreError) {
        let temporary = error.is_temporary();
        let error = Error::from(error);
        if !self.begins_failing() {
            tracing::debug!(error = %Shown(&error), of = self.of, "Django's database still fails");
        } else if temporary {
            tracing::warn!(error = %Shown(&error), of = self.of, "clients are answered 503: Django's database is not available");
        } else {
            tracing::error!(error = %Shown(&error), of = self.of, "clients are answered 500: Django's database cannot be read");
        }
    }

    /// Notes that a lookup has succeeded.
    pub(super) fn succeeded(&self) {
        if self.ends_failing() {
            tracing::info!(of = self.of, "Django's database is available again");
        }
    }

    fn begins_failing(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.reported || state.at.is_some_and(|at| at.elapsed() < SILENCE) {
            return false;
        }
        *state = HealthState { reported: true, at: Some(Instant::now()) };
        true
    }

    fn ends_failing(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_its_end_are_logged_once() {
        let health = Health::new("users");
        assert!(!health.ends_failing(), "nothing has failed");
        assert!(health.begins_failing());
        assert!(!health.begins_failing(), "it still fails");
        assert!(health.ends_failing());
        assert!(!health.ends_failing());
        assert!(!health.begins_failing(), "it has failed just now");
        assert!(!health.ends_failing(), "the end of a failure that was not logged is not logged either");
    }
}
