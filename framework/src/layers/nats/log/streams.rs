//! The streams of all policies, and whether they can be used.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    entry::{Spot, Stored, What},
    stream::Terms,
};
use crate::{
    GroupName, LayerConfig,
    groups::history::position::Epoch,
    layers::nats::{jetstream::JetStream, subjects::Subjects},
};

/// The least time between two looks at a stream because of what other processes say.
const LOOKS: Duration = Duration::from_secs(1);
/// After so long without news of a log, it is made sure that there are none.
const CHECK: Duration = Duration::from_secs(30);

/// The streams of the policies, and what this process knows of the groups in them.
///
/// Both locks are held only for a look-up or an edit.
#[derive(Debug)]
pub(in crate::layers::nats) struct Streams {
    pub(super) all: Vec<Stream>,
    groups: Mutex<HashMap<GroupName, Ends>>,
}

/// The stream of one policy.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) policy: usize,
    pub(super) terms: Terms,
    state: Mutex<StreamState>,
    /// When it was last looked at because of what another process said.
    looked: Mutex<Option<Instant>>,
}

/// Whether a stream can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::layers::nats) enum StreamState {
    /// It is not known, because the server has not answered, and why.
    Unknown(String),
    /// It can.
    Ready { epoch: Epoch, replicas: u64 },
    /// It cannot. The process keeps its own logs.
    Unusable,
}

impl StreamState {
    /// Whether one server alone has the stream, and so knows all of it.
    pub(super) fn is_on_one_server(&self) -> bool {
        matches!(self, Self::Ready { replicas: ..=1, .. })
    }
}

/// The end of a group's log, as far as this process knows it.
#[derive(Debug)]
struct Ends {
    /// The last message.
    last: u64,
    /// The newest mark, and the offset of the place that it stands for.
    mark: Option<(u64, u64)>,
    /// When the last message came.
    heard: Instant,
    /// When it was made sure that it is the last one.
    checked: Instant,
}

impl Streams {
    pub(in crate::layers::nats) fn new(
        subjects: &Subjects,
        config: &LayerConfig,
        settings: JetStream,
    ) -> Self {
        let stream = |(policy, (pattern, history)): (usize, &(String, _))| Stream {
            policy,
            terms: Terms::new(subjects, policy, pattern, *history, settings),
            state: Mutex::new(StreamState::Unknown("it was not asked yet".into())),
            looked: Mutex::default(),
        };
        Self { all: config.history.iter().enumerate().map(stream).collect(), groups: Mutex::default() }
    }

    pub(super) fn of(&self, policy: usize) -> Option<&Stream> {
        self.all.get(policy)
    }

    /// Whether the stream of a policy may be looked at now: not again within a second.
    pub(super) fn may_look(&self, policy: usize) -> bool {
        self.of(policy).is_some_and(|stream| {
            let mut looked = stream.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let may = looked.is_none_or(|looked| looked.elapsed() >= LOOKS);
            if may {
                *looked = Some(Instant::now());
            }
            may
        })
    }

    /// The policies whose streams cannot be used now.
    pub(super) fn not_ready(&self) -> Vec<usize> {
        let is_ready = |stream: &&Stream| matches!(stream.state(), StreamState::Ready { .. });
        self.all.iter().filter(|stream| !is_ready(stream)).map(|stream| stream.policy).collect()
    }

    /// The state of the stream of a policy.
    pub(in crate::layers::nats) fn state(&self, policy: usize) -> StreamState {
        self.of(policy).map_or(StreamState::Unusable, Stream::state)
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<GroupName, Ends>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the end of a group's log.
    pub(super) fn heard(&self, group: &GroupName, stored: &Stored) {
        let mark = match &stored.what {
            What::Mark(Spot { offset, .. }) => Some((stored.sequence, *offset)),
            What::Entry { .. } => None,
        };
        let now = Instant::now();
        // The clocks of the server and of this machine may differ. That only moves the next mark.
        let heard = stored.age.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        let ends = Ends { last: stored.sequence, mark, heard, checked: now };
        let mut groups = self.groups();
        let Some(known) = groups.get_mut(group) else {
            groups.insert(group.clone(), ends);
            return;
        };
        known.checked = now;
        if mark.is_some() {
            known.mark = mark;
        }
        if stored.sequence != known.last {
            (known.last, known.heard) = (ends.last, ends.heard);
        }
    }

    /// The offset of the entry that stands before one whose predecessor in the log is `last`.
    pub(super) fn before(&self, group: &GroupName, last: u64) -> u64 {
        let groups = self.groups();
        match groups.get(group).and_then(|ends| ends.mark) {
            Some((mark, offset)) if mark == last => offset,
            _ => last,
        }
    }

    /// Whether a log's last message will soon be too old, or was the last one too long ago to be sure of it.
    pub(super) fn is_due(&self, group: &GroupName, within: Duration) -> bool {
        let groups = self.groups();
        groups
            .get(group)
            .is_some_and(|ends| ends.heard.elapsed() >= within / 2 || ends.checked.elapsed() >= CHECK)
    }

    /// Whether a log's last message will soon be too old.
    pub(super) fn is_old(&self, group: &GroupName, within: Duration) -> bool {
        self.groups().get(group).is_some_and(|ends| ends.heard.elapsed() >= within / 2)
    }

    /// Forgets a group.
    pub(in crate::layers::nats) fn forget(&self, group: &GroupName) {
        self.groups().remove(group);
    }
}

impl Stream {
    pub(super) fn state(&self) -> StreamState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, state: StreamState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
