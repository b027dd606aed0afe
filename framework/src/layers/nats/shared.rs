//! What the threads of a layer share: its caller's, the one that speaks with NATS, and the one that delivers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::{
    answer::Answer,
    config::NatsConfig,
    readers::{Readers, Reads},
    subjects::{Subjects, Task},
};
use crate::{
    ChannelName, Envelope, GroupName,
    event::Format,
    layers::{
        Groups, LayerError,
        server::{
            inbound::{self, Deliver, log_undecodable},
            members::Members,
            status::Status,
        },
    },
    metrics::Counters,
};

/// How often a message is passed on at most: each process that has no room for it, or no reader any more, asks the others.
const PASSED: u8 = 3;

/// Why there is no answer, where the connection is gone.
pub(super) const LOST: &str = "the connection was lost before there was an answer";

/// The way in, bounded by bytes.
pub(super) type Inbox = inbound::Inbox<Source, ()>;

/// The state of one [`NatsLayer`](super::NatsLayer).
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: NatsConfig,
    pub(super) subjects: Subjects,
    pub(super) groups: Groups,
    pub(super) status: Status,
    pub(super) members: Members,
    pub(super) readers: Readers,
    /// The largest message that the server takes, as it said last.
    pub(super) max_payload: AtomicUsize,
    /// The bytes that may wait to be written.
    pub(super) room: Arc<Semaphore>,
    pub(super) operations: mpsc::UnboundedSender<Operation>,
    pub(super) stop: Notify,
    /// Whether the thread has ended that speaks with NATS.
    pub(super) ended: watch::Sender<bool>,
}

/// What the thread is asked to do.
///
/// Those that come from a caller hold their place in the bound on bytes; the others that of the message that they are about.
#[derive(Debug)]
pub(super) enum Operation {
    /// Publish an event to a group.
    Publish {
        group: GroupName,
        event: Bytes,
        reply: Option<oneshot::Sender<Result<(), LayerError>>>,
        place: Place,
    },
    /// Ask whoever hears this subject.
    Ask {
        subject: String,
        payload: Bytes,
        reply: oneshot::Sender<Result<Answer, LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// Answer who asked; where a group is named, when NATS knows that this process is in it.
    Answer { to: String, answer: Answer, joined: Option<GroupName>, room: OwnedSemaphorePermit },
    /// Ask the other readers of a channel to take a message, and answer who asked this process: this, where they do not.
    PassOn {
        channel: ChannelName,
        bytes: Bytes,
        passed: u8,
        to: Option<String>,
        otherwise: Answer,
        room: OwnedSemaphorePermit,
    },
}

/// The place of a publication in the bound on bytes. Where it is dropped before it was written, others have missed the event.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    written: bool,
    _room: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn new(shared: &Arc<Shared>, room: OwnedSemaphorePermit) -> Self {
        Self { shared: Arc::clone(shared), written: false, _room: room }
    }

    pub(super) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.written {
            self.shared.counters().unpublished.one();
        }
    }
}

/// By what a message came.
#[derive(Debug)]
pub(super) enum Source {
    /// It was published to a group.
    Group(GroupName),
    /// It was sent to a channel of any process that is read here.
    Channel { channel: ChannelName, passed: u8, to: Option<String> },
    /// This process is asked for something by this subject.
    Task { subject: String, to: Option<String> },
}

impl Shared {
    pub(super) fn counters(&self) -> &Counters {
        &self.groups.directory().counters
    }

    pub(super) fn is_up(&self) -> bool {
        self.status.is_up(0)
    }

    /// Why nothing can be sent.
    pub(super) fn away(&self) -> LayerError {
        self.status.away(0)
    }

    /// What becomes of what was under way when the connection broke.
    pub(super) fn lost(&self) -> LayerError {
        self.unavailable(LOST)
    }

    pub(super) fn unavailable(&self, reason: &str) -> LayerError {
        LayerError::Unavailable(format!("{}: {reason}", self.status.address(0)))
    }

    /// The event's bytes, if they are not too many.
    pub(super) fn write(&self, envelope: &Envelope) -> Result<Bytes, LayerError> {
        let event = envelope.to_wire(Format::MsgPack).map_err(LayerError::Unwritable)?;
        let (size, limit) = (event.len(), self.config.queue_bytes.min(self.max_payload.load(Relaxed)));
        if size > limit { Err(LayerError::MessageTooLarge { size, limit }) } else { Ok(event) }
    }

    /// A place in the bound on bytes. What is before it is written, or fails, in the time that NATS may take to answer.
    pub(super) async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LayerError> {
        let weight = (bytes + 256).min(self.config.queue_bytes) as u32;
        Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_closed| self.away())
    }

    pub(super) fn ask(&self, operation: Operation) {
        // The thread ends with the layer; who waits for a reply then learns that.
        let _ = self.operations.send(operation);
    }

    /// Waits until NATS knows that this process is in a group, where it can.
    pub(super) async fn settled(&self, group: &GroupName) {
        let known = || self.members.is_settled(group).unwrap_or_else(|| !self.groups.has_members(group));
        self.members.wait_until(&self.status, || known() || !self.is_up()).await;
    }

    fn answer(
        &self,
        to: Option<String>,
        answer: Answer,
        joined: Option<GroupName>,
        room: OwnedSemaphorePermit,
    ) {
        if let Some(to) = to {
            self.ask(Operation::Answer { to, answer, joined, room });
        }
    }

    fn read(&self, from: &str, bytes: Bytes) -> Result<Envelope, Answer> {
        Envelope::from_wire(Format::MsgPack, bytes).map_err(|error| {
            log_undecodable(&self.status, self.counters(), from, &error);
            Answer::Refused(format!("the message cannot be read: {error}"))
        })
    }

    /// Takes a message of a channel of any process, or passes it on.
    async fn take(
        &self,
        channel: ChannelName,
        bytes: Bytes,
        passed: u8,
        to: Option<String>,
        room: OwnedSemaphorePermit,
    ) {
        let answer = match self.read(&channel, bytes.clone()) {
            Err(answer) => answer,
            // Who reads no more may have something under way still.
            Ok(_) if self.readers.reads(&channel) != Reads::Yes => Answer::None,
            Ok(envelope) => self.groups.send(&channel, envelope).await.into(),
        };
        match answer {
            otherwise @ (Answer::Full | Answer::None | Answer::Channels(_)) if passed < PASSED => {
                self.ask(Operation::PassOn { channel, bytes, passed: passed + 1, to, otherwise, room });
            }
            answer => self.answer(to, answer, None, room),
        }
    }

    /// Does what another process asks; with the group that a channel was put into.
    async fn carry_out(&self, subject: &str, bytes: Bytes) -> (Answer, Option<GroupName>) {
        let Some((task, channel)) = self.subjects.read_task(subject) else {
            self.counters().stray.one();
            return (Answer::Refused("the subject names no task".into()), None);
        };
        if !self.groups.owns(&channel) {
            self.counters().stray.one();
            return (Answer::None, None);
        }
        let (done, group) = match task {
            Task::Send => match self.read(subject, bytes) {
                Err(answer) => return (answer, None),
                // A full inbox or queue has counted itself.
                Ok(envelope) => (self.groups.send(&channel, envelope).await, None),
            },
            Task::Join(group) => (self.groups.add(&group, &channel).await, Some(group)),
            Task::Leave(group) => (self.groups.discard(&group, &channel).await, None),
        };
        if let Err(LayerError::NoReceiver) = done {
            self.counters().stray.one();
        }
        (done.into(), group)
    }
}

impl Deliver for Shared {
    type Source = Source;
    type Over = ();

    async fn message(&self, bytes: Bytes, source: Source, room: OwnedSemaphorePermit) {
        match source {
            Source::Group(group) => {
                // Counted and logged where it cannot be read.
                if let Ok(envelope) = self.read(&group, bytes) {
                    self.groups.publish(&group, envelope).await;
                }
            }
            Source::Channel { channel, passed, to } => self.take(channel, bytes, passed, to, room).await,
            Source::Task { subject, to } => {
                let (answer, joined) = self.carry_out(&subject, bytes).await;
                self.answer(to, answer, joined, room);
            }
        }
    }

    fn groups(&self) -> &Groups {
        &self.groups
    }
}
