//! A server for tests: it keeps one log, loses what it is told to lose, and answers when it is told to.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::Semaphore;

use super::{
    position::{Epoch, Position, Tag},
    store::{Arrival, LogRead, LogStore, Part, StoredEntry},
};
use crate::{GroupName, LayerError};

/// A server with the log of one group.
#[derive(Debug)]
pub(crate) struct FakeServer {
    state: Mutex<FakeState>,
    /// Each read takes one permit.
    pub(crate) answers: Semaphore,
    /// It keeps so many entries.
    size: usize,
}

#[derive(Debug)]
struct FakeState {
    epoch: Epoch,
    top: Position,
    /// Each entry, and the place before it.
    entries: Vec<(StoredEntry, Position)>,
    reads: usize,
    is_away: bool,
}

impl FakeServer {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        let epoch = Epoch::fresh();
        let state =
            FakeState { epoch, top: Position::start(epoch), entries: Vec::new(), reads: 0, is_away: false };
        Arc::new(Self { state: Mutex::new(state), answers: Semaphore::new(Semaphore::MAX_PERMITS), size })
    }

    fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    /// Adds an entry, and says what the fan-out brings.
    pub(crate) fn append(&self, payload: Bytes) -> Arrival {
        let mut state = self.state();
        let before = state.top;
        let tag = Tag::fresh();
        let entry = StoredEntry { offset: before.offset + 1, tag, except: Vec::new(), payload };
        state.top = Position { offset: entry.offset, tag, ..before };
        state.entries.push((entry.clone(), before));
        if state.entries.len() > self.size {
            state.entries.remove(0);
        }
        Arrival { epoch: state.epoch, entry, prev: before.offset, prev_tag: Some(before.tag) }
    }

    /// Loses its newest entries, and knows nothing of that.
    pub(crate) fn lose(&self, entries: usize) {
        let mut state = self.state();
        for _ in 0..entries {
            if let Some((_, before)) = state.entries.pop() {
                state.top = before;
            }
        }
    }

    /// Loses everything.
    pub(crate) fn flush(&self) {
        self.state().begin_anew();
    }

    /// Whether it cannot be read.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.state().is_away = is_away;
    }

    pub(crate) fn top(&self) -> Position {
        self.state().top
    }

    pub(crate) fn reads(&self) -> usize {
        self.state().reads
    }
}

impl FakeState {
    fn begin_anew(&mut self) {
        self.epoch = Epoch::fresh();
        self.top = Position::start(self.epoch);
        self.entries.clear();
    }

    /// The tag at an offset, if the log says it.
    fn tag_at(&self, offset: u64) -> Option<Tag> {
        if self.top.offset == offset {
            return Some(self.top.tag);
        }
        let at = |(entry, before): &(StoredEntry, Position)| match offset {
            _ if entry.offset == offset => Some(entry.tag),
            _ if before.offset == offset => Some(before.tag),
            _ => None,
        };
        self.entries.iter().find_map(at)
    }

    fn read(&mut self, part: Part, most: usize, seen: Option<Position>) -> LogRead {
        if let Some(seen) = seen.filter(|seen| seen.epoch == self.epoch)
            && (seen.offset > self.top.offset || self.tag_at(seen.offset).is_some_and(|tag| tag != seen.tag))
        {
            self.begin_anew();
        }
        let entries: Vec<_> = match part {
            Part::After(place) => {
                self.entries.iter().filter(|(entry, _)| entry.offset > place.offset).take(most).collect()
            }
            Part::Before(_) => unreachable!("nobody asks for it"),
            Part::Newest => self.entries.iter().skip(self.entries.len().saturating_sub(most)).collect(),
        };
        let anchor = match part {
            Part::After(place) if place.epoch == self.epoch => self.tag_at(place.offset),
            Part::After(_) => None,
            Part::Before(_) | Part::Newest => entries.first().map(|(_, before)| before.tag),
        };
        LogRead {
            top: self.top,
            anchor,
            entries: entries.into_iter().map(|(entry, _)| entry.clone()).collect(),
            foreign: 0.0,
        }
    }
}

impl LogStore for FakeServer {
    fn read<'a>(
        &'a self,
        _: &'a GroupName,
        part: Part,
        most: usize,
        seen: Option<Position>,
    ) -> BoxFuture<'a, Result<LogRead, LayerError>> {
        async move {
            self.answers.acquire().await.unwrap().forget();
            let mut state = self.state();
            state.reads += 1;
            if state.is_away {
                return Err(LayerError::Unavailable("the server is away".to_owned()));
            }
            Ok(state.read(part, most, seen))
        }
        .boxed()
    }
}
