//! Where a layer with a server keeps the logs of its groups.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::position::{Epoch, Position, Tag};
use crate::{ChannelName, GroupName, LayerError};

/// Reads the logs of groups from a server. Each kind of server has its own.
///
/// What the server did at an append, or brings to other processes, is an [`Arrival`].
pub(crate) trait LogStore: fmt::Debug + Send + Sync {
    /// Reads a part of a group's log, and its end, at one moment.
    ///
    /// `seen` is the newest place that this process has seen in the log. If the server's log has the same epoch and
    /// ends before `seen`, or has another tag there, the server has lost entries. The store then begins a new epoch on the server, unless another
    /// process has done so meanwhile, and answers with the new state.
    fn read<'a>(
        &'a self,
        group: &'a GroupName,
        part: Part,
        most: usize,
        seen: Option<Position>,
    ) -> BoxFuture<'a, Result<LogRead, LayerError>>;

    /// Whether the server keeps the group's log. If not, the process itself does.
    fn keeps(&self, group: &GroupName) -> bool {
        let _ = group;
        true
    }
}

/// Which entries of a log are read: up to so many, which stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The first ones behind a place.
    After(Position),
    /// The last ones before the entry with this offset.
    Before(u64),
    /// The last ones of all.
    Newest,
}

/// A part of a group's log, as it was at one moment.
#[derive(Debug, Clone)]
pub(crate) struct LogRead {
    /// The place behind the newest entry.
    pub(crate) top: Position,
    /// The tag of the entry before the first of [`entries`](Self::entries); for [`Part::After`], the tag that the log
    /// has at that place. If there the log began, it is [`Tag::NONE`].
    ///
    /// `None` if the log does not say it. For [`Part::After`] this means that the entry behind that place is gone.
    pub(crate) anchor: Option<Tag>,
    /// The entries, in ascending order. No entry of the log is missing between two of them.
    pub(crate) entries: Vec<StoredEntry>,
    /// The newest mark of events that are in no log. 0 if there were none.
    pub(crate) foreign: f64,
}

/// An entry as a server keeps it.
#[derive(Debug, Clone)]
pub(crate) struct StoredEntry {
    /// Grows from entry to entry. On NATS it grows by more than 1.
    pub(crate) offset: u64,
    pub(crate) tag: Tag,
    /// The channels that do not get it.
    pub(crate) except: Vec<ChannelName>,
    /// The event, in MessagePack. Empty if the event of an [`Arrival`] is handed over beside it.
    pub(crate) payload: Bytes,
}

/// A new entry, as the answer to an append or the fan-out brings it: perhaps twice, perhaps not in order.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) epoch: Epoch,
    pub(crate) entry: StoredEntry,
    /// The offset of the entry before it; 0 for the first.
    pub(crate) prev: u64,
    /// The tag of the entry before it. `None` if the server does not say it, as NATS.
    pub(crate) prev_tag: Option<Tag>,
}
