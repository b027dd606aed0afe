//! How often the log says that a client was denied.

use std::{
    hash::BuildHasher as _,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often the log says the same.
const EVERY: Duration = Duration::from_secs(60);
/// How many different lines there may be in that time: anyone can send any origin.
const MOST: usize = 100;

/// The denials that the log has told within the last minute.
#[derive(Debug, Default)]
struct Told {
    /// The hash of what was told, and when. The oldest stands first.
    lines: Vec<(u64, Instant)>,
    /// How many denials the log has left out since its last line.
    more: u64,
}

/// Whether the log should say now that `what` was denied: an origin, or a host.
///
/// If so, it returns how many denials were left out since the last line.
pub(super) fn tells(what: &str) -> Option<u64> {
    static TOLD: LazyLock<(std::hash::RandomState, Mutex<Told>)> = LazyLock::new(Default::default);
    let (secret, told) = &*TOLD;
    told.lock().unwrap_or_else(PoisonError::into_inner).tells(secret.hash_one(what), Instant::now())
}

impl Told {
    fn tells(&mut self, what: u64, now: Instant) -> Option<u64> {
        self.lines.retain(|(_, at)| now.duration_since(*at) < EVERY);
        if self.lines.len() >= MOST || self.lines.iter().any(|(told, _)| *told == what) {
            self.more += 1;
            return None;
        }
        self.lines.push((what, now));
        Some(std::mem::take(&mut self.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_is_told_once_a_minute_and_all_together_are_bounded() {
        let mut told = Told::default();
        let start = Instant::now();
        assert_eq!(told.tells(0, start), Some(0));
        assert_eq!(told.tells(0, start), None);
        assert_eq!(told.tells(1, start), Some(1), "one was left out");
        assert_eq!(told.tells(0, start + EVERY), Some(0));
        let lines = (0..1_000).filter(|what| told.tells(*what, start + EVERY * 2).is_some()).count();
        assert_eq!((lines, told.lines.len()), (MOST, MOST));
        assert_eq!(told.tells(5_000, start + EVERY * 3), Some(1_000 - MOST as u64));
    }
}
