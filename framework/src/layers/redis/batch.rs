//! The commands of a batch, and what to do with their replies.

use redis::{Arg, Cmd, Pipeline, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::told::Piece;
use crate::{
    ChannelName, Delivery, GroupName,
    layers::{LayerError, server::status::Status},
};

/// What to do with the reply to a command.
pub(super) enum Then {
    Answer(oneshot::Sender<Result<(), LayerError>>),
    /// Count the reply as a part of a publication: that of so many queues.
    Count {
        publication: usize,
        queues: u64,
    },
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
    Settle(GroupName, u64),
    Take {
        channel: ChannelName,
        count: usize,
    },
}

/// Commands for one shard, and what to do with the reply to each.
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
    /// Takes what a shard has answered. If it has not answered, the reason is the same for all commands.
    pub(super) fn new(
        status: &'a Status,
        shard: usize,
        commands: &'a Pipeline,
        replies: Result<Vec<Value>, String>,
    ) -> Self {
        let replies = replies.map(Vec::into_iter).map_err(|reason| status.unavailable(shard, &reason));
        Self { status, shard, commands, replies, at: 0 }
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
        match self.replies.as_mut().map_err(|error| error.clone())?.next() {
            Some(Value::ServerError(error)) => {
                let why = format!("{}: {error}", subject(self.commands, at));
                Err(refused(self.status, self.shard, &why))
            }
            Some(reply) => Ok(reply),
            None => Err(LayerError::Refused("a reply is missing".into())),
        }
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
/// Redis does not say them in its errors.
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
