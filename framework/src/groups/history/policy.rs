//! Which groups keep their events, and for how long.

use std::time::Duration;

/// How much a group keeps of its events: a number of them, for a time.
///
/// [`LayerConfig::history`](crate::LayerConfig::history) says for which groups. All processes of a layer must have the
/// same policies.
///
/// | Field | Default | Limit |
/// |---|---|---|
/// | [`last`](Self::last) | none: it must be said | 1 to 10,000 events |
/// | [`within`](Self::within) | 300 s | 1 s to 7 days |
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Layer, LayerConfig, MemoryLayer, history::History};
///
/// let history = History::last(100).within(Duration::from_secs(600));
/// let layer = Layer::from(MemoryLayer::with_config(LayerConfig::new().history("chat_*", history)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct History {
    size: usize,
    within: Duration,
}

impl History {
    /// The most events that a group can keep.
    pub const MOST: usize = 10_000;
    const LONGEST: Duration = Duration::from_secs(7 * 86_400);

    /// Keeps so many of a group's newest events: at least 1, at most [`MOST`](Self::MOST).
    pub const fn last(events: usize) -> Self {
        let size = match events {
            0 => 1,
            1..=Self::MOST => events,
            _ => Self::MOST,
        };
        Self { size, within: Duration::from_secs(300) }
    }

    /// Keeps an event for so long. Default 300 s, at least 1 s, at most 7 days.
    ///
    /// It is also how long a client may be away and still find out what it missed.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time.clamp(Duration::from_secs(1), Self::LONGEST);
        self
    }

    /// How many events are kept.
    pub(crate) const fn size(self) -> usize {
        self.size
    }

    /// How long an event is kept.
    pub(crate) const fn time(self) -> Duration {
        self.within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        assert_eq!((History::last(0).size(), History::last(usize::MAX).size()), (1, History::MOST));
        let within = |time| History::last(1).within(time).time();
        assert_eq!(within(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(within(Duration::MAX), History::LONGEST);
    }
}
