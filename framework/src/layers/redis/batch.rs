//! The commands of a batch, and what to do with their replies.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use redis::{Arg, Cmd, Pipeline, ServerError, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    log::{
        append::{Appending, Settled},
        entry::Place,
    },
    told::Piece,
};
use crate::{
    ChannelName, Delivery,
    groups::directory::Directory,
    layers::{
        LayerError,
        server::{
            refusal::ServerRefusal,
            status::{Status, ended},
        },
    },
};

/// A message for one queue.
pub(super) struct QueueMessage {
    pub(super) key: String,
    pub(super) message: Vec<u8>,
    pub(super) capacity: usize,
    /// Whether the queue belongs to a process of Greenroom.
    pub(super) is_ours: bool,
}

/// What to do with the reply to a command.
pub(super) enum Then {
    Answer(oneshot::Sender<Result<(), LayerError>>),
    /// The event is in the log of its group, and in the queues of this shard. It goes to the other queues now.
    Append {
        appending: Box<Appending>,
        queues: u64,
        elsewhere: Vec<(usize, Vec<QueueMessage>)>,
        room: OwnedSemaphorePermit,
    },
    /// Count the reply as a part of a publication: that of so many queues.
    Count {
        publication: Rc<Progress>,
        queues: u64,
    },
    /// Count the reply as a part of an event's way to so many queues of another shard.
    Spread {
        spreading: Rc<Spreading>,
        queues: u64,
    },
    /// Note whether Redis has these names in the group now. With a number, end the wait for the group.
    Joined(Piece, Option<u64>),
    /// Forget these names, if Redis has taken them out of the group.
    Left(Piece),
    Nothing,
    /// A message was put back, because the caller that waited for it has gone.
    PutBack,
    Sent {
        channel: ChannelName,
        reply: oneshot::Sender<Result<(), LayerError>>,
        _room: OwnedSemaphorePermit,
    },
    Take {
        channel: ChannelName,
        count: usize,
    },
}

/// A place in the order of the commands. It is done when all commands before it have their replies.
pub(super) enum Mark {
    /// The publication may be finished. It finishes when this is dropped.
    Published(#[expect(dead_code, reason = "only its drop matters")] Rc<Progress>),
    /// This shard knows so many joins and leaves of members.
    Told(u64),
    /// Somebody waits until the last one is dropped.
    Written(#[expect(dead_code, reason = "only its drop matters")] Rc<oneshot::Sender<()>>),
}

/// What is put into the order of a shard's commands.
pub(super) enum Entry {
    Command(Cmd, Then),
    Mark(Mark),
}

/// Commands for one shard, and what to do with the reply to each.
#[derive(Default)]
pub(super) struct CommandBatch {
    pub(super) commands: Pipeline,
    pub(super) then: Vec<Then>,
    pub(super) marks: Vec<Mark>,
}

impl CommandBatch {
    pub(super) fn push(&mut self, entry: Entry) {
        match entry {
            Entry::Command(command, then) => {
                self.commands.add_command(command);
                self.then.push(then);
            }
            Entry::Mark(mark) => self.marks.push(mark),
        }
    }
}

/// How far an event has got on its way to other processes.
///
/// When it is dropped, the caller that waits gets the result, and a loss is counted.
pub(super) struct Progress {
    pub(super) directory: Arc<Directory>,
    pub(super) delivery: Cell<Delivery>,
    pub(super) error: RefCell<Option<LayerError>>,
    /// How many commands have no reply yet.
    pub(super) waits_for: Cell<usize>,
    pub(super) reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Drop for Progress {
    fn drop(&mut self) {
        let unwritten = (self.waits_for.get() > 0).then(ended);
        let error = self.error.take().or(unwritten);
        if error.is_some() {
            self.directory.counters.unpublished.one();
        }
        if let Some(reply) = self.reply.take() {
            // The caller may have gone.
            let _ = reply.send(error.map_or(Ok(self.delivery.get()), Err));
        }
    }
}

/// How far an event of a log has got on its way to the queues of other shards.
///
/// When it is dropped, the event is handed on to the members in this process.
pub(super) struct Spreading {
    pub(super) event: Cell<Option<(Appending, Place, OwnedSemaphorePermit)>>,
    pub(super) delivery: Cell<Delivery>,
    pub(super) hand_on: Box<dyn Fn(Settled, OwnedSemaphorePermit)>,
}

impl Drop for Spreading {
    fn drop(&mut self) {
        if let Some((appending, place, room)) = self.event.take() {
            (self.hand_on)(Settled { appending, outcome: Ok((place, self.delivery.get())) }, room);
        }
    }
}

/// The replies to the commands of a pipeline, in their order.
pub(super) struct Replies<'a> {
    status: &'a Status,
    shard: usize,
    commands: &'a Pipeline,
    replies: Result<std::vec::IntoIter<Value>, LayerError>,
    at: usize,
    refusal: Option<ServerRefusal>,
    is_forgotten: bool,
}

impl<'a> Replies<'a> {
    /// Takes what a shard has answered. If it has not answered, the reason is the same for all commands.
    pub(super) fn new(
        status: &'a Status,
        shard: usize,
        commands: &'a Pipeline,
        replies: Result<Vec<Value>, String>,
    ) -> Self {
        let replies = replies.map(Vec::into_iter).map_err(|reason| status.unavailable(shard, &reason));
        Self { status, shard, commands, replies, at: 0, refusal: None, is_forgotten: false }
    }

    /// Skips a reply.
    pub(super) fn skip(&mut self) {
        self.at += 1;
        let _ = self.replies.as_mut().map(Iterator::next);
    }

    /// The next reply. It is an error if the server refused the command, which is logged at most once a
    /// minute.
    pub(super) fn next(&mut self) -> Result<Value, LayerError> {
        let at = self.at;
        self.at += 1;
        self.refusal = None;
        self.is_forgotten = false;
        match self.replies.as_mut().map_err(|error| error.clone())?.next() {
            Some(Value::ServerError(error)) => {
                self.is_forgotten = error.code() == "NOSCRIPT";
                let said = said(&error);
                let refusal = ServerRefusal::of_redis(&said);
                self.refusal = Some(refusal);
                if self.is_forgotten {
                    return Err(LayerError::Refused(said));
                }
                if refusal == ServerRefusal::Away {
                    // The connection ends, and the log says that the server is away.
                    return Err(self.status.unavailable(self.shard, &said));
                }
                let why = format!("{}: {said}", subject(self.commands, at));
                Err(refused(self.status, self.shard, &why))
            }
            Some(reply) => Ok(reply),
            None => Err(LayerError::Refused("a reply is missing".into())),
        }
    }

    /// Whether the server has answered the last command at all.
    ///
    /// Otherwise nobody knows whether it was carried out.
    pub(super) fn is_answered(&self) -> bool {
        self.replies.is_ok()
    }

    /// Whether the server has forgotten the script that the last command runs.
    pub(super) fn is_forgotten(&self) -> bool {
        self.is_forgotten
    }

    /// Whether the server has refused the last command, and may carry it out later.
    pub(super) fn may_pass(&self) -> bool {
        self.refusal == Some(ServerRefusal::Later)
    }
}

/// The text of an error, as Redis says it.
pub(super) fn said(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The error for a command that a shard refused. It is logged at most once a minute.
pub(super) fn refused(status: &Status, shard: usize, why: &str) -> LayerError {
    let address = status.address(shard);
    if let Some(more) = status.logs("refused") {
        tracing::warn!(address, why, more, "Redis refused a command");
    }
    LayerError::Refused(format!("{address}: {why}"))
}

/// The name and the key of a command, for texts.
///
/// Redis does not say them in its errors. The key of a script comes after its text and the number of keys.
fn subject(commands: &Pipeline, at: usize) -> String {
    let words: Vec<_> = commands.cmd_iter().nth(at).into_iter().flat_map(words).take(4).collect();
    match &words[..] {
        [name, _, _, key] if name == "EVAL" => format!("{name} {key}"),
        _ => words.into_iter().take(2).collect::<Vec<_>>().join(" "),
    }
}

/// The words of a command.
pub(super) fn words(command: &Cmd) -> impl Iterator<Item = String> {
    command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    })
}
