use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::StoreError;
use crate::Error;

/// How long there is silence after a failure was logged, though lookups succeed and fail by turns.
const SILENCE: Duration = Duration::from_secs(10);

/// Logs that lookups fail, and that they succeed again, once each.
pub(super) struct Health {
    of: &'static str,
    /// Held for no longer than it is looked at.
    state: Mutex<HealthState>,
}

#[derive(Default)]
struct HealthState {
    /// Whether a failure was logged, and no success since.
    reported: bool,
    at: Option<Instant>,
}

impl Health {
    pub(super) fn new(of: &'static str) -> Self {
        Self { of, state: Mutex::default() }
    }

    /// A lookup has failed.
    pub(super) fn failed(&self, error: StoreError) {
        let temporary = error.is_temporary();
        let error = Error::from(error);
        if !self.begins_failing() {
            tracing::debug!(%error, of = self.of, "Django's database fails still");
        } else if temporary {
            tracing::warn!(%error, of = self.of, "clients are answered 503: Django's database does not serve");
        } else {
            tracing::error!(%error, of = self.of, "clients are answered 500: Django's database cannot be read");
        }
    }

    /// A lookup has succeeded.
    pub(super) fn succeeded(&self) {
        if self.ends_failing() {
            tracing::info!(of = self.of, "Django's database serves again");
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
        assert!(!health.begins_failing(), "it fails still");
        assert!(health.ends_failing());
        assert!(!health.ends_failing());
        assert!(!health.begins_failing(), "it has failed just now");
        assert!(!health.ends_failing(), "what was not reported need not end");
    }
}
