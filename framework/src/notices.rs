//! What the log says once, because it would otherwise say it for every event or every client.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many different notices are remembered. A peer can invent names without end, and none of them is new then.
const MOST: usize = 256;

/// How long nothing is said of a limit after it was said.
const TELL_FULL: Duration = Duration::from_secs(10);

/// When the log last said that a limit of the server was reached. A storm of clients must not fill the log.
#[derive(Debug, Default)]
pub(crate) struct ToldFull(Mutex<Option<Instant>>);

impl ToldFull {
    /// Whether the log is to say it now.
    pub(crate) fn is_due(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| at.elapsed() < TELL_FULL) {
            return false;
        }
        *told = Some(Instant::now());
        true
    }
}

/// The kinds of what is said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Notice {
    /// The fields of an event do not fit its handler.
    Misfit,
    /// The group of a room has a history.
    RoomHistory,
    /// A client offered subprotocols, and its consumer chose none.
    NoSubprotocol,
    /// An event has no handler.
    Unhandled,
}

/// What the log has said. The lock is held for one look-up, and for nothing else.
static SAID: LazyLock<Mutex<Said>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Said {
    names: HashMap<(Notice, &'static str), HashSet<String>>,
    count: usize,
}

impl Notice {
    /// Whether the log has not said this yet of `name` in `place`, for example a consumer type. From now on it has.
    pub(crate) fn is_new(self, place: &'static str, name: &str) -> bool {
        SAID.lock().unwrap_or_else(PoisonError::into_inner).note(self, place, name)
    }
}

impl Said {
    fn note(&mut self, notice: Notice, place: &'static str, name: &str) -> bool {
        let is_known = self.names.get(&(notice, place)).is_some_and(|names| names.contains(name));
        if is_known || self.count >= MOST {
            return false;
        }
        self.count += 1;
        self.names.entry((notice, place)).or_default().insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_new_once_in_each_place_and_their_number_is_bounded() {
        let mut said = Said::default();
        assert!(said.note(Notice::Unhandled, "Chat", "a"));
        assert!(!said.note(Notice::Unhandled, "Chat", "a"));
        assert!(said.note(Notice::Misfit, "Chat", "a"));
        assert!(said.note(Notice::Unhandled, "Game", "a"));
        let new =
            (0..1000).filter(|number| said.note(Notice::Unhandled, "Chat", &number.to_string())).count();
        assert_eq!(new, MOST - 3);
    }
}
