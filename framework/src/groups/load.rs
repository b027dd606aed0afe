//! What goes to the members of a group.

use std::sync::Arc;

use super::{
    except::Except,
    fan_out::Parcel,
    history::{entry::Entry, log::Log},
};

/// What goes to the members of a group: an event for now, or what comes next in the log.
#[derive(Clone, Copy)]
pub(super) enum Load<'a> {
    Event(&'a Parcel),
    /// The log, and the entry for which the sender waits.
    Log(&'a Arc<Log>, &'a Arc<Entry>),
}

impl Load<'_> {
    /// The members that do not get it. Nobody, for an entry without its bytes.
    pub(super) fn except(&self) -> Except {
        match self {
            Self::Event(parcel) => parcel.except.clone(),
            Self::Log(_, entry) => entry.parcel().map(|parcel| parcel.except.clone()).unwrap_or_default(),
        }
    }

    /// For how many bytes it counts in a hub's queue.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Event(parcel) => parcel.weight(),
            Self::Log(_, entry) => entry.parcel().map_or(0, Parcel::weight),
        }
    }
}
