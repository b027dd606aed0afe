//! The state that the threads of a layer on NATS share, and its operations.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender, oneshot};

use super::{
    answer::ProcessAnswer,
    config::NatsSettings,
    expected::LOST,
    log::{
        own::OwnLogs,
        streams::Streams,
        tasks::{Append, Unsure},
        unlogged::UnloggedGroups,
    },
    readers::{ReadState, Readers},
    subjects::{Subjects, Task},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName,
    event::Format,
    groups::{
        directory::Directory,
        history::{
            position::Position,
            store::{Arrival, LogRead, Part},
        },
    },
    layers::{LayerError, server},
};

/// How often a message is passed on at most.
///
/// A process that has no room for a message, or does not read the channel any more, asks the other processes.
const PASSED: u8 = 3;

/// The largest message that a server takes by default. It holds until the server has told its own limit.
const MAX_PAYLOAD: usize = 1 << 20;

/// The state of one [`NatsLayer`](super::NatsLayer), and the driver of its kind.
#[derive(Debug)]
pub struct Nats {
    pub(super) settings: NatsSettings,
    pub(super) subjects: Subjects,
    pub(super) readers: Readers,
    /// The largest message that the server takes, as the server said last.
    pub(super) max_payload: AtomicUsize,
    pub(super) operations: UnboundedSender<NatsOperation>,
    pub(super) streams: Streams,
    /// The logs of groups whose streams cannot be used.
    pub(super) own_logs: OwnLogs,
    /// The events whose fate is not known. The lock is held only for an edit.
    unsure: Mutex<Vec<Unsure>>,
    /// The groups with a log whose members here have an event that is not in it, until the streams say so.
    pub(super) unlogged: UnloggedGroups,
}

impl Nats {
    pub(super) fn new(
        settings: NatsSettings,
        subjects: Subjects,
        streams: Streams,
        operations: UnboundedSender<NatsOperation>,
    ) -> Self {
        Self {
            settings,
            subjects,
            readers: Readers::default(),
            max_payload: AtomicUsize::new(MAX_PAYLOAD),
            operations,
            streams,
            own_logs: OwnLogs::default(),
            unsure: Mutex::default(),
            unlogged: UnloggedGroups::default(),
        }
    }

    pub(super) fn unsure(&self) -> MutexGuard<'_, Vec<Unsure>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shared state of a layer on NATS.
pub(super) type NatsShared = server::shared::Shared<Nats>;

/// A request to the driver's thread.
///
/// A request of a caller holds its own place in the bound on bytes. The others hold the place of the message
/// for which they are made.
#[derive(Debug)]
pub(in crate::layers) enum NatsOperation {
    /// Publish an event to a group.
    Publish {
        group: GroupName,
        event: Bytes,
        /// Whether the event is in no log although the group has one.
        transient: bool,
        reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
        place: Place,
    },
    /// Add an event to the log of a group.
    Append(Append),
    /// Read a part of the log of a group.
    ReadLog {
        policy: usize,
        group: GroupName,
        part: Part,
        most: usize,
        seen: Option<Position>,
        reply: oneshot::Sender<Result<LogRead, LayerError>>,
    },
    /// Ask the process that is subscribed to this subject.
    Ask {
        subject: String,
        payload: Bytes,
        reply: oneshot::Sender<Result<ProcessAnswer, LayerError>>,
        room: OwnedSemaphorePermit,
    },
    /// Answer a request. If a channel joined a group, the answer waits until NATS sends the group's events to
    /// this process.
    Answer { to: String, answer: ProcessAnswer, joined: Option<GroupName>, room: OwnedSemaphorePermit },
    /// Ask the other readers of a channel to take a message.
    ///
    /// The process that sent it is answered then. If no other reader takes the message, the answer is
    /// `otherwise`.
    PassOn {
        channel: ChannelName,
        bytes: Bytes,
        passed: u8,
        to: Option<String>,
        otherwise: ProcessAnswer,
        room: OwnedSemaphorePermit,
    },
}

/// The place of a publication in the bound on bytes.
///
/// If it is dropped before the event was written, the loss is counted.
#[derive(Debug)]
pub(in crate::layers) struct Place {
    directory: Arc<Directory>,
    written: bool,
    _room: OwnedSemaphorePermit,
}

impl Place {
    pub(super) fn new(shared: &NatsShared, room: OwnedSemaphorePermit) -> Self {
        Self { directory: Arc::clone(shared.groups.directory()), written: false, _room: room }
    }

    pub(super) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.written {
            self.directory.counters.unpublished.one();
        }
    }
}

/// Says where a message came from.
#[derive(Debug)]
pub(in crate::layers) enum NatsSource {
    /// The message was published to a group.
    Group(GroupName),
    /// The message was published to a group whose log is this process' own.
    Own(GroupName),
    /// The message is an entry of a log. `served` is told, or dropped, when the members here have it.
    Log { group: GroupName, arrival: Arrival, served: Option<oneshot::Sender<Delivery>> },
    /// The message was published to a group with a log, and is not in it. The stream has this mark of that.
    Foreign { group: GroupName, mark: Option<f64> },
    /// There is no message. The logs of these groups may lack entries, since the server was away for so long.
    Refill { groups: Vec<GroupName>, seconds: Option<f64> },
    /// The message was sent to a channel of any process, which this process reads.
    Channel { channel: ChannelName, passed: u8, to: Option<String> },
    /// The message is a request to this process, with this subject.
    Task { subject: String, to: Option<String> },
}

impl NatsShared {
    /// The error for operations that were under way when the connection was lost.
    pub(super) fn lost(&self) -> LayerError {
        self.status.unavailable(0, LOST)
    }

    pub(super) fn answer(
        &self,
        to: Option<String>,
        answer: ProcessAnswer,
        joined: Option<GroupName>,
        room: OwnedSemaphorePermit,
    ) {
        if let Some(to) = to {
            self.tell(NatsOperation::Answer { to, answer, joined, room });
        }
    }

    pub(super) fn read(&self, from: &str, bytes: Bytes) -> Result<Envelope, ProcessAnswer> {
        Envelope::from_wire(Format::MsgPack, bytes).map_err(|error| {
            self.log_undecodable(from, &error);
            ProcessAnswer::Refused(format!("the message cannot be read: {error}"))
        })
    }

    /// Takes a message of a channel of any process, or passes it on.
    pub(super) async fn take(
        &self,
        channel: ChannelName,
        bytes: Bytes,
        passed: u8,
        to: Option<String>,
        room: OwnedSemaphorePermit,
    ) {
        let answer = match self.read(&channel, bytes.clone()) {
            Err(answer) => answer,
            // A message may still be under way when the last worker has stopped.
            Ok(_) if self.driver.readers.reads(&channel) != ReadState::Yes => ProcessAnswer::None,
            Ok(envelope) => self.groups.send(&channel, envelope).await.into(),
        };
        match answer {
            otherwise @ (ProcessAnswer::Full | ProcessAnswer::None | ProcessAnswer::Channels(_))
                if passed < PASSED =>
            {
                self.tell(NatsOperation::PassOn { channel, bytes, passed: passed + 1, to, otherwise, room });
            }
            answer => self.answer(to, answer, None, room),
        }
    }

    /// Carries out the request of another process.
    ///
    /// Returns the answer, and the group if a channel was put into one.
    pub(super) async fn carry_out(&self, subject: &str, bytes: Bytes) -> (ProcessAnswer, Option<GroupName>) {
        let Some((task, channel)) = self.driver.subjects.read_task(subject) else {
            self.counters().stray.one();
            return (ProcessAnswer::Refused("the subject is invalid".into()), None);
        };
        if !self.groups.owns(&channel) {
            self.counters().stray.one();
            return (ProcessAnswer::None, None);
        }
        let (done, group) = match task {
            Task::Send => match self.read(subject, bytes) {
                Err(answer) => return (answer, None),
                // A full inbox or queue has counted the loss itself.
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
