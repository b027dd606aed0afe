//! One thread's part of a group's log: how far its members have come.

use std::{cell::Cell, sync::Arc};

use super::history::{log::Log, position::Position};

/// One thread's part of a group's log.
pub(super) struct LocalLog {
    pub(super) hub: u64,
    pub(super) log: Arc<Log>,
    /// Behind the entry that was handed out last. All members have got so far, but those that are behind. `None` before
    /// the log is open.
    pub(super) served: Cell<Option<Position>>,
    /// Where those members begin that joined before the log was open.
    pub(super) began: Cell<Option<Position>>,
}

impl Drop for LocalLog {
    fn drop(&mut self) {
        self.log.forget_thread(self.hub);
    }
}
