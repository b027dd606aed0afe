//! An event on its way into the log of its group, and from there to the members in this process.

use bytes::Bytes;
use redis::Value;
use tokio::{sync::oneshot, time::Instant};

use super::{
    entry::{Nonce, Place, read_epoch, tag},
    scripts::Append,
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    groups::history::{
        policy::History,
        position::{Epoch, Position, Tag},
        store::{Arrival, StoredEntry},
    },
    layers::{LayerError, redis::link::flat},
};

/// An event that is to be appended, and the caller that waits until the members here have it.
#[derive(Debug)]
pub(in crate::layers) struct Appending {
    pub(in crate::layers::redis) group: GroupName,
    pub(in crate::layers::redis) policy: History,
    pub(in crate::layers::redis) except: Vec<ChannelName>,
    pub(in crate::layers::redis) envelope: Envelope,
    /// The event's bytes, of which the messages to queues are made.
    pub(in crate::layers::redis) event: Bytes,
    /// The event as it stands in the log. On pub/sub it is also the message.
    pub(in crate::layers::redis) sealed: Bytes,
    pub(in crate::layers::redis) tag: Tag,
    pub(in crate::layers::redis) nonce: Nonce,
    /// Whether to count whom the event reaches.
    pub(in crate::layers::redis) count: bool,
    /// Whether this process is one of the subscribers of the group, on pub/sub.
    pub(in crate::layers::redis) is_heard: bool,
    /// When it was sent, and the newest place that this process had seen in the log by then.
    pub(in crate::layers::redis) sent: (Instant, Option<Position>),
    /// `None` if the caller has been told that nobody knows.
    pub(in crate::layers::redis) reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
}

impl Appending {
    /// A tag and a nonce for a new entry. The system is asked once for both.
    pub(in crate::layers::redis) fn names() -> (Tag, Nonce) {
        let mut bytes = [0; 11];
        let found = getrandom::fill(&mut bytes).ok().and_then(|()| {
            let (first, rest) = bytes.split_first_chunk::<3>()?;
            Some((tag(first)?, rest.try_into().ok()?))
        });
        found.unwrap_or_else(|| (Tag::fresh(), Epoch::fresh().get().to_be_bytes()))
    }

    /// What the script is told.
    pub(in crate::layers::redis) fn arguments(&self) -> Append<'_> {
        let (_, seen) = self.sent;
        Append { policy: self.policy, seen, sealed: &self.sealed, tag: self.tag, nonce: self.nonce }
    }
}

/// An event of this process whose fate is known, for the thread that delivers.
#[derive(Debug)]
pub(in crate::layers) struct Settled {
    pub(in crate::layers::redis) appending: Appending,
    /// Where it stands in the log, and how many other processes have got it.
    pub(in crate::layers::redis) outcome: Result<(Place, Delivery), AppendError>,
}

/// Why it is not known where an event stands in its log.
#[derive(Debug, Clone)]
pub(in crate::layers::redis) enum AppendError {
    /// It is not in the log.
    Not(LayerError),
    /// Nobody can say whether it is, or was. The members may have got it as one of the log.
    Unknown(LayerError),
}

/// The answer of `append.lua` with `queues.lua` or `topics.lua`.
#[derive(Debug)]
pub(in crate::layers::redis) struct Answer {
    pub(in crate::layers::redis) place: Place,
    /// The policy with which another process has appended before, if it differs.
    pub(in crate::layers::redis) other: Option<String>,
    /// How many queues were full, or how many subscribers have got the event.
    pub(in crate::layers::redis) count: u64,
    /// The last queue that has refused, and why.
    pub(in crate::layers::redis) refused: Option<String>,
}

impl Answer {
    /// Reads an answer to the append of an entry with this tag. `None` if it is something else.
    pub(in crate::layers::redis) fn read(reply: Value, own: Tag) -> Option<Self> {
        let fields = flat(reply);
        let text = |at: usize| fields.get(at).map(|field| String::from_utf8_lossy(field).into_owned());
        let epoch = read_epoch(fields.first()?)?;
        let offset = text(1)?.parse().ok().filter(|offset| *offset > 0)?;
        let place = Place { at: Position { epoch, offset, tag: own }, prev: tag(fields.get(2)?)? };
        Some(Self {
            place,
            other: text(3).filter(|other| !other.is_empty()),
            count: text(4)?.parse().ok()?,
            refused: text(6).filter(|why| !why.is_empty()),
        })
    }
}

/// The arrival of an entry.
pub(in crate::layers::redis) fn arrival(place: Place, except: Vec<ChannelName>) -> Arrival {
    let Place { at: Position { epoch, offset, tag }, prev } = place;
    // The event itself is handed over beside it.
    let entry = StoredEntry { offset, tag, except, payload: Bytes::new() };
    Arrival { epoch, entry, prev: offset - 1, prev_tag: Some(prev) }
}
