//! From where on a member gets a group's events.

use super::{lost::LostReason, position::Position};

/// From where on a member gets the events of a group that keeps them.
///
/// See [`group_add_since`](crate::ConnectionContext::group_add_since).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// From now on.
    Now,
    /// From this many events back, as far as the group keeps them. If the layer's server cannot be read, as far as this
    /// process knows them, and the outcome says so.
    Last(usize),
    /// From this place on. If the log no longer has what came after it, from now on.
    Position(Position),
    /// From the place that an `EventSource` names: see
    /// [`HttpContext::last_event_id`](crate::HttpContext::last_event_id). If the id is not valid, from now on.
    EventId(EventId),
}

/// The place in a `Last-Event-ID`, which [`HttpContext::last_event_id`](crate::HttpContext::last_event_id) reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId(
    /// The place, and the bits of the mark of the newest event that is in no log; or why there is none.
    pub(crate) Result<(Position, u64), LostReason>,
);
