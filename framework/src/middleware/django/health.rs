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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether a failure was logged, and no success since.
    told: bool,
    at: Option<Instant>,
}

impl Health {
    pub(super) fn new(of: &'static str) -> Self {
        Self { of, state: Mutex::default() }
    }

    /// A lookup has failed.
    pub(super) fn ill(&self, error: StoreError) {
        let passing = error.is_passing();
        let error = Error::from(error);
        if !self.begins() {
            tracing::debug!(%error, of = self.of, "Django's database fails still");
        } else if passing {
            tracing::warn!(%error, of = self.of, "clients are answered 503: Django's database does not serve");
        } else {
            tracing::error!(%error, of = self.of, "clients are answered 500: Django's database cannot be read");
        }
    }

    /// A lookup has succeeded.
    pub(super) fn well(&self) {
        if self.ends() {
            tracing::info!(of = self.of, "Django's database serves again");
        }
    }

    fn begins(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told || state.at.is_some_and(|at| at.elapsed() < SILENCE) {
            return false;
        }
        *state = State { told: true, at: Some(Instant::now()) };
        true
    }

    fn ends(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_and_its_end_are_told_once() {
        let health = Health::new("users");
        assert!(!health.ends(), "nothing has failed");
        assert!(health.begins());
        assert!(!health.begins(), "it fails still");
        assert!(health.ends());
        assert!(!health.ends());
        assert!(!health.begins(), "it has failed just now");
        assert!(!health.ends(), "what was not told need not end");
    }
}
