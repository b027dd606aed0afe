//! One event in the log of a group.

use std::{
    sync::{OnceLock, PoisonError},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::position::Position;
use crate::{
    ChannelName, Delivery, Envelope,
    groups::{
        except::Except,
        fan_out::{Class, Form, Parcel},
    },
    metrics::Counters,
    sync::Mutex,
    wire::history::down::{At, Head},
};

/// An event of a group, and its place.
pub(crate) struct Entry {
    /// The place behind it.
    pub(crate) position: Position,
    pub(super) since: Instant,
    pub(crate) envelope: Envelope,
    /// The channels that do not get it, sorted.
    pub(crate) left_out: Box<[ChannelName]>,
    /// What the members get that had joined when it came. Set once, before anybody gets it.
    formed: OnceLock<Parcel>,
    /// What became of it in the queues of programs. Set when they have got it, or if there are none.
    pub(crate) queued: OnceLock<Delivery>,
    /// What members of other classes get, which catch up. A relay may run twice for two threads that ask at once.
    late: Mutex<SmallVec<[(Class, Form); 1]>>,
    /// For how many bytes it counts.
    pub(super) bytes: usize,
}

/// For how many bytes an entry counts beside its payload.
const OVERHEAD: usize = 256;

/// An entry without its place.
///
/// To make one runs user code, which says how large the event is. So it is made before a log is locked.
pub(super) struct Draft {
    since: Instant,
    envelope: Envelope,
    left_out: Box<[ChannelName]>,
    bytes: usize,
}

impl Draft {
    pub(super) fn new(envelope: Envelope, left_out: &[ChannelName]) -> Self {
        let names: usize = left_out.iter().map(|name| name.len() + 16).sum();
        let bytes = OVERHEAD + envelope.size_hint() + names;
        // There may be many, and each member is looked for among them.
        let mut left_out: Box<[ChannelName]> = left_out.into();
        left_out.sort_unstable();
        Self { since: Instant::now(), envelope, left_out, bytes }
    }

    /// For an entry that is so old.
    pub(super) fn aged(mut self, age: Duration) -> Self {
        // The clock of a machine that was just started may not reach so far back.
        self.since = self.since.checked_sub(age).unwrap_or(self.since);
        self
    }

    pub(super) fn at(self, position: Position) -> Entry {
        let Self { since, envelope, left_out, bytes } = self;
        let (formed, queued, late) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Entry { position, since, envelope, left_out, formed, queued, late, bytes }
    }
}

impl Entry {
    /// Runs the relays of these classes, and makes the bytes. User code runs, so no lock or borrow may be held.
    pub(crate) fn form<'a>(
        &self,
        alias: u32,
        process: &str,
        classes: impl Iterator<Item = &'a Class>,
        counters: &Counters,
    ) {
        self.formed.get_or_init(|| {
            let except = Except::new(process, &self.left_out);
            Parcel::headed(self.head(alias), self.envelope.clone(), except, classes, counters)
        });
    }

    /// What a client that is told its places gets before the event.
    fn head(&self, alias: u32) -> Head {
        let Position { offset, tag, .. } = self.position;
        Head::Logged(At { alias, offset, tag: tag.get(), part: None })
    }

    /// What goes to the members here, once [`form`](Self::form) was called.
    pub(crate) fn parcel(&self) -> Option<&Parcel> {
        self.formed.get()
    }

    /// What a member that catches up gets. User code may run, so no lock or borrow may be held.
    pub(crate) fn form_for(&self, alias: u32, class: &Class, counters: &Counters) -> Form {
        if let Some(form) = self.parcel().and_then(|parcel| parcel.form(class)) {
            return form.clone();
        }
        let late = || self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, form)) = late().iter().find(|(known, _)| known == class) {
            return form.clone();
        }
        let parcel = Parcel::headed(
            self.head(alias),
            self.envelope.clone(),
            Except::default(),
            [class].into_iter(),
            counters,
        );
        let form = parcel.form(class).cloned().unwrap_or(Form::Failed);
        late().push((*class, form.clone()));
        form
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("position", &self.position)
            .field("event", &self.envelope)
            .finish_non_exhaustive()
    }
}
