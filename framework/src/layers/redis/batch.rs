//! The commands of a batch, and what their replies are for.

use redis::{Arg, Cmd, Pipeline, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::told::Piece;
use crate::{
    ChannelName, Delivery, GroupName,
    layers::{LayerError, server::status::Status},
};

/// What becomes of a reply.
pub(super) enum Then {
    Answer(oneshot::Sender<Result<(), LayerError>>),
    /// Its share of a publication: so many queues.
    Count {
        publication: usize,
        queues: u64,
    },
    /// These have left, where Redis has done it.
    Left(Piece),
    Nothing,
    /// One who waited for it has gone, and it was put back.
    PutBack,
    Sent {
        channel: ChannelName,
        reply: oneshot::Sender<Result<(), LayerError>>,
        _room: OwnedSemaphorePermit,
    },
    Settle(GroupName, u64),
    Take {
        channel: ChannelName,
        count: usize,
    },
}

#[derive(Default)]
pub(super) struct CommandBatch {
    pub(super) commands: Pipeline,
    pub(super) then: Vec<Then>,
}

impl CommandBatch {
    pub(super) fn push(&mut self, command: Cmd, then: Then) {
        self.commands.add_command(command);
        self.then.push(then);
    }
}

/// How far an event has got on its way to other processes.
pub(super) struct Progress {
    pub(super) delivery: Delivery,
    pub(super) error: Option<LayerError>,
    pub(super) reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// The replies to the commands of a pipeline, in their order.
pub(super) struct Replies<'a> {
    status: &'a Status,
    shard: usize,
    commands: &'a Pipeline,
    replies: Result<std::vec::IntoIter<Value>, LayerError>,
    at: usize,
}

impl<'a> Replies<'a> {
    /// What a shard has answered; a reason if it has not, which holds for all commands.
    pub(super) fn new(
        status: &'a Status,
        shard: usize,
        commands: &'a Pipeline,
        replies: Result<Vec<Value>, String>,
    ) -> Self {
        let replies = replies.map(Vec::into_iter).map_err(|reason| status.unavailable(shard, &reason));
        Self { status, shard, commands, replies, at: 0 }
    }

    /// Passes a reply over.
    pub(super) fn skip(&mut self) {
        self.at += 1;
        let _ = self.replies.as_mut().map(Iterator::next);
    }

    /// The next reply: an error if the server refused the command, which is logged now and then.
    pub(super) fn next(&mut self) -> Result<Value, LayerError> {
        let at = self.at;
        self.at += 1;
        match self.replies.as_mut().map_err(|error| error.clone())?.next() {
            Some(Value::ServerError(error)) => {
                let why = format!("{}: {error}", subject(self.commands, at));
                Err(refused(self.status, self.shard, &why))
            }
            Some(reply) => Ok(reply),
            None => Err(LayerError::Refused("an answer is missing".into())),
        }
    }
}

/// What is said of a command that a shard refused. It is logged now and then.
pub(super) fn refused(status: &Status, shard: usize, why: &str) -> LayerError {
    let address = status.address(shard);
    if let Some(more) = status.logs("refused") {
        tracing::warn!(address, why, more, "Redis refused a command");
    }
    LayerError::Refused(format!("{address}: {why}"))
}

/// What a command of a pipeline is about: its name and its key, which Redis does not say.
fn subject(commands: &Pipeline, at: usize) -> String {
    commands.cmd_iter().nth(at).into_iter().flat_map(words).take(2).collect::<Vec<_>>().join(" ")
}

/// The words of a command.
pub(super) fn words(command: &Cmd) -> impl Iterator<Item = String> {
    command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    })
}
