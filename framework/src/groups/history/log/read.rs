//! A part of a log that was read from a server, as entries.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{
    entry::{Draft, Entry},
    position::{Position, Tag},
    store::{LogRead, StoredEntry},
};
use crate::{Envelope, event::Format};

/// What a server has answered: a [`LogRead`] with its events.
pub(crate) struct ReadPart {
    pub(super) top: Position,
    pub(super) anchor: Option<Tag>,
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) foreign: f64,
}

impl ReadPart {
    pub(crate) fn new(read: LogRead) -> Self {
        let LogRead { top, anchor, entries, foreign } = read;
        let entries = entries.into_iter().map(|StoredEntry { offset, tag, except, payload }| {
            let position = Position { epoch: top.epoch, offset, tag };
            Arc::new(Draft::new(envelope_of(payload), &except).at(position))
        });
        Self { top, anchor, entries: entries.collect(), foreign }
    }

    /// What stands before the first entry, if `place` was read behind.
    pub(super) fn before(&self, place: Option<Position>) -> Position {
        match (place, self.entries.first().map(|first| first.position)) {
            (Some(place), _) if place.epoch == self.top.epoch && self.anchor == Some(place.tag) => place,
            (_, Some(first)) => {
                let tag = self.anchor.unwrap_or(Tag::NONE);
                Position { offset: first.offset.saturating_sub(1), tag, ..first }
            }
            (_, None) => self.top,
        }
    }
}

/// The name of an event in a log that cannot be read.
const UNREADABLE: &str = "greenroom.unreadable";

/// Reads an event. One that cannot be read gets a name that no consumer handles, so that its place is kept.
pub(in crate::groups::history) fn envelope_of(payload: Bytes) -> Envelope {
    Envelope::from_wire(Format::MsgPack, payload).unwrap_or_else(|_| {
        Envelope::of_type(UNREADABLE.to_owned(), Format::MsgPack, Bytes::from_static(b"\x80"))
    })
}
