//! What a connection has whose client is told its places in the logs of its groups.
//!
//! A client that asks for it is told where it begins in each log, and where each message stands. When it comes back on
//! another connection it names its places. Until it has done so, or has not in time, the connection's members wait where
//! they joined.
//!
//! This file has the state. [`introduction`](super::introduction) decides where each member begins,
//! [`named`](super::named) finds the places that the client names, and [`telling`](super::telling) tells the client.

use std::{
    cell::{Cell, OnceCell},
    collections::BTreeMap,
    num::NonZeroU32,
    rc::Rc,
};

use tokio::sync::oneshot;

use super::named::NamedPlace;
use crate::{
    ChannelName,
    groups::{
        budget::Ledger,
        history::{
            position::Position,
            token::{Gid, UserHash},
        },
        outbox::{Outbox, Pushed},
    },
    wire::{
        Packet,
        history::{down::At, resume::ResumeRequest},
        limits::Limits,
    },
};

/// What a connection has whose client is told its places.
#[expect(
    clippy::box_collection,
    reason = "most connections have none, and it costs each of them only 8 bytes"
)]
pub(crate) struct Places {
    pub(super) user: UserHash,
    stage: Cell<Stage>,
    /// The channels of the client's earlier connections, the newest last.
    before: OnceCell<Box<Vec<ChannelName>>>,
    /// The event of a log whose handler runs, and how many messages it has sent.
    current: Cell<Option<Box<Current>>>,
    /// What goes to the client behind its greeting. `None` once it is greeted.
    early: Cell<Option<Box<Early>>>,
}

/// What waits for the greeting.
#[derive(Default)]
pub(super) struct Early {
    /// Has the same limits as the connection's own outbox, and counts in the same budget. Made for the first frame.
    pub(super) outbox: Option<Outbox>,
    /// Takes the greeting, if it goes into the answer of a request.
    pub(super) answer: Option<oneshot::Sender<String>>,
}

/// How far the client's introduction is.
#[expect(
    clippy::box_collection,
    reason = "most connections have none, and it costs each of them only 8 bytes"
)]
enum Stage {
    /// The client has said that it comes back, and has not named its places yet.
    Awaited,
    /// The consumer's task introduces the client next.
    Due(Box<Asked>),
    /// It is doing so.
    Begun,
    /// The client knows its places. It may still join groups for which it has named these.
    Done(Option<Box<BTreeMap<Gid, NamedPlace>>>),
}

/// What the client has asked for.
pub(super) enum Asked {
    /// It has been nowhere before.
    Nothing,
    /// To go on from these places.
    Resume(ResumeRequest),
    /// It did not name its places in time.
    TooLate,
    /// It named too many.
    TooMany,
}

struct Current {
    alias: u32,
    position: Position,
    parts: u32,
}

impl Current {
    fn at(&self, part: Option<NonZeroU32>) -> At {
        At { alias: self.alias, offset: self.position.offset, tag: self.position.tag.get(), part }
    }
}

/// How a client's introduction begins.
#[derive(Debug)]
pub(crate) enum Introduction {
    /// It has been nowhere before.
    New,
    /// It will name its places in its first message.
    Awaited,
    /// It has named them, if it comes back, and gets the greeting in the answer to its request.
    Answer(Option<ResumeRequest>, oneshot::Sender<String>),
}

/// What became of a frame that is to go to the client.
pub(super) enum Kept {
    /// It was to wait for the greeting, with this result.
    Early(Pushed),
    /// The client is greeted: nothing waits any more.
    Greeted(Packet),
}

impl Places {
    pub(crate) fn new(user: UserHash, introduction: Introduction) -> Self {
        let (stage, answer) = match introduction {
            Introduction::New => (Stage::Due(Box::new(Asked::Nothing)), None),
            Introduction::Awaited => (Stage::Awaited, None),
            Introduction::Answer(None, answer) => (Stage::Due(Box::new(Asked::Nothing)), Some(answer)),
            Introduction::Answer(Some(request), answer) => {
                (Stage::Due(Box::new(Asked::Resume(request))), Some(answer))
            }
        };
        Self {
            user,
            stage: Cell::new(stage),
            before: OnceCell::new(),
            current: Cell::default(),
            early: Cell::new(Some(Box::new(Early { answer, ..Early::default() }))),
        }
    }

    /// Keeps a frame until the client is greeted, as the outbox keeps it after that.
    pub(super) fn keep(&self, frame: Packet, limits: &Limits, ledger: impl FnOnce() -> Rc<Ledger>) -> Kept {
        let Some(mut early) = self.early.take() else { return Kept::Greeted(frame) };
        let pushed = early.outbox.get_or_insert_with(|| Outbox::new(ledger())).push(frame, limits);
        self.early.set(Some(early));
        Kept::Early(pushed)
    }

    /// Looks at what waits for the greeting. `None` if nothing does.
    pub(super) fn at_early<R>(&self, look: impl FnOnce(&Outbox) -> R) -> Option<R> {
        let early = self.early.take();
        let seen = early.as_ref().and_then(|early| early.outbox.as_ref()).map(look);
        self.early.set(early);
        seen
    }

    /// Drops what waits for the greeting: the client does not get it any more.
    pub(super) fn drop_early(&self) {
        if let Some(mut early) = self.early.take() {
            early.outbox = None;
            self.early.set(Some(early));
        }
    }

    /// Takes what has waited, for the greeting. `None` if the client is greeted.
    pub(super) fn take_early(&self) -> Option<Box<Early>> {
        self.early.take()
    }

    pub(super) fn is_greeted(&self) -> bool {
        let early = self.early.take();
        let is_greeted = early.is_none();
        self.early.set(early);
        is_greeted
    }

    fn at_stage<R>(&self, look: impl FnOnce(&mut Stage) -> R) -> R {
        let mut stage = self.stage.replace(Stage::Begun);
        let seen = look(&mut stage);
        self.stage.set(stage);
        seen
    }

    /// Whether the client is to name its places.
    pub(super) fn is_awaited(&self) -> bool {
        self.at_stage(|stage| matches!(stage, Stage::Awaited))
    }

    /// Notes what the client asks for. Returns false if it has asked before.
    pub(super) fn note_asked(&self, asked: Asked) -> bool {
        let is_awaited = self.is_awaited();
        if is_awaited {
            self.stage.set(Stage::Due(Box::new(asked)));
        }
        is_awaited
    }

    /// Whether the consumer's task is to introduce the client next.
    pub(super) fn is_due(&self) -> bool {
        self.at_stage(|stage| matches!(stage, Stage::Due(_)))
    }

    /// Begins the introduction.
    pub(super) fn begin_introduction(&self) -> Asked {
        match self.stage.replace(Stage::Begun) {
            Stage::Due(asked) => *asked,
            Stage::Awaited | Stage::Begun | Stage::Done(_) => Asked::Nothing,
        }
    }

    /// Ends the introduction. The client may still join groups for which it has named these places.
    pub(super) fn end_introduction(&self, named: BTreeMap<Gid, NamedPlace>) {
        let named = (!named.is_empty()).then(|| Box::new(named));
        self.stage.set(Stage::Done(named));
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.at_stage(|stage| matches!(stage, Stage::Done(_)))
    }

    /// The place that the client has named in a group that it joins only now.
    pub(super) fn named_in(&self, gid: Gid) -> Option<NamedPlace> {
        self.at_stage(|stage| match stage {
            Stage::Done(named) => named.as_ref()?.get(&gid).copied(),
            Stage::Awaited | Stage::Begun | Stage::Due(_) => None,
        })
    }

    /// Forgets that place once it is used.
    pub(super) fn forget_named(&self, gid: Gid) {
        self.at_stage(|stage| {
            if let Stage::Done(Some(named)) = stage {
                named.remove(&gid);
            }
        });
    }

    /// Notes the channels of the client's earlier connections. Called once.
    pub(super) fn note_before(&self, channels: Vec<ChannelName>) {
        if !channels.is_empty() {
            let _ = self.before.set(Box::new(channels));
        }
    }

    /// Whether an earlier connection of the client is one of these, which are sorted.
    pub(super) fn was_one_of(&self, channels: &[ChannelName]) -> bool {
        let is_there = |channel| channels.binary_search(channel).is_ok();
        self.before.get().is_some_and(|before| before.iter().any(is_there))
    }

    /// Notes that the handler of an event of a log runs.
    pub(super) fn begin_logged(&self, alias: u32, position: Position) {
        self.current.set(Some(Box::new(Current { alias, position, parts: 0 })));
    }

    /// Where the next message of a running handler stands.
    pub(super) fn next_part(&self) -> Option<At> {
        let mut current = self.current.take()?;
        current.parts = current.parts.saturating_add(1);
        let at = current.at(NonZeroU32::new(current.parts));
        self.current.set(Some(current));
        Some(at)
    }

    /// Notes that the handler has ended. Returns the place of its event.
    pub(super) fn end_logged(&self) -> Option<At> {
        Some(self.current.take()?.at(None))
    }
}
