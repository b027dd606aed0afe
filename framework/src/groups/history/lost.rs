//! What became of a member's place in a log.

use std::fmt;

use crate::metrics::Counters;

/// Why a member may have missed events of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// The client knows more than the log: it was with another server, or it invented the place.
    Ahead,
    /// The log was begun anew: it was deleted, or the process that had it in its memory has ended.
    Epoch,
    /// The proof of the client's place is older than 30 days.
    Expired,
    /// An event came from a program that does not add its events to the log, such as Django.
    Foreign,
    /// The proof of the place was not made by this layer for this user and group, or is damaged.
    Forged,
    /// The client did not name its place in time.
    Late,
    /// The server has lost its newest entries, for example because an older replica took over.
    Rollback,
    /// The client named too many places.
    TooMany,
    /// The log no longer has what the member has missed: there were more events than it keeps.
    Trimmed,
    /// The log could not be read when the client came back, or wanted the last events, because the layer's server was away.
    Unlogged,
}

impl LostReason {
    /// The word for it on the wire and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Epoch => "epoch",
            Self::Expired => "expired",
            Self::Foreign => "foreign",
            Self::Forged => "forged",
            Self::Late => "late",
            Self::Rollback => "rollback",
            Self::TooMany => "too_many",
            Self::Trimmed => "trimmed",
            Self::Unlogged => "unlogged",
        }
    }
}

impl Counters {
    /// Counts a member that is told that it may have missed events.
    pub(crate) fn lost(&self, reason: LostReason) {
        match reason {
            LostReason::Ahead => &self.lost_ahead,
            LostReason::Epoch => &self.lost_epoch,
            LostReason::Expired => &self.lost_expired,
            LostReason::Foreign => &self.lost_foreign,
            LostReason::Forged => &self.lost_forged,
            LostReason::Late => &self.lost_late,
            LostReason::Rollback => &self.lost_rollback,
            LostReason::TooMany => &self.lost_too_many,
            LostReason::Trimmed => &self.lost_trimmed,
            LostReason::Unlogged => &self.lost_unlogged,
        }
        .one();
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a member has got everything since the place that it named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has, or will get it next, in order and once.
    Recovered,
    /// It may have missed events. From now on it gets them all.
    Lost(LostReason),
}

impl Outcome {
    /// The outcome of a search for a place.
    pub(crate) fn of<T>(found: &Result<T, LostReason>) -> Self {
        match found {
            Ok(_) => Self::Recovered,
            Err(reason) => Self::Lost(*reason),
        }
    }
}
