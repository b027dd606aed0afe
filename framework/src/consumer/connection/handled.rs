//! How far a consumer has handled the events of a log, for a client that is not told its places frame by frame.

use std::sync::Arc;

use super::Connection;
use crate::groups::{
    history::{log::Log, position::Position},
    inbox::Mail,
};

impl Connection {
    /// Moves what large groups have sent into the inbox. False if not all of it fits: then nobody knows what was handled.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.catch_up();
        !self.inbox.borrow().is_full()
    }

    /// The logs of the groups in which the consumer is.
    pub(crate) fn logs(&self) -> impl Iterator<Item = Arc<Log>> {
        let directory = self.hub().directory();
        self.memberships.groups().into_iter().filter_map(|group| directory.logs.find(&group))
    }

    /// The place before the first event of a log that the consumer has not handled yet. The one that it handles now
    /// counts as handled. `None` if it cannot be told.
    pub(crate) fn handled_place(&self, log: &Log) -> Option<Position> {
        for mail in self.inbox.borrow().iter() {
            match mail {
                // It does not say which event it is of.
                Mail::Packet(_) => return None,
                Mail::Lost(group, _) if *group == log.group => return None,
                Mail::Logged(_, alias, position) if *alias == log.alias => return log.before(*position),
                Mail::Event(_) | Mail::Foreign(..) | Mail::Logged(..) | Mail::Lost(..) => {}
            }
        }
        self.hub().place_of(self, log)
    }

    /// The mark of the newest event that is in no log, if all of them are handled.
    pub(crate) fn handled_foreign(&self, log: &Log) -> Option<f64> {
        let waits = |mail: &Mail| matches!(mail, Mail::Foreign(_, alias, _) if *alias == log.alias);
        (!self.inbox.borrow().iter().any(waits)).then(|| log.foreign())
    }
}
