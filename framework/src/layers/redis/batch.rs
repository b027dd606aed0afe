//! The commands of a batch, and what becomes of their replies.

use std::collections::HashSet;

use redis::{Arg, Cmd, Pipeline, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    link::{flat, score},
    publication::Publication,
    told::Piece,
    writer::Io,
};
use crate::{ChannelName, GroupName, layers::LayerError};

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
pub(super) struct Batch {
    pub(super) commands: Pipeline,
    pub(super) then: Vec<Then>,
}

impl Batch {
    pub(super) fn push(&mut self, command: Cmd, then: Then) {
        self.commands.add_command(command);
        self.then.push(then);
    }
}

/// What a command of a pipeline is about: its name and its key, which Redis does not say.
pub(super) fn subject(commands: &Pipeline, at: usize) -> String {
    commands.cmd_iter().nth(at).into_iter().flat_map(words).take(2).collect::<Vec<_>>().join(" ")
}

/// The words of a command.
pub(super) fn words(command: &Cmd) -> impl Iterator<Item = String> {
    command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    })
}

impl Io {
    pub(super) fn take_replies(
        &self,
        shard: usize,
        batch: Batch,
        replies: Result<Vec<Value>, LayerError>,
        publications: &mut [Publication],
        wanted: &mut HashSet<ChannelName>,
    ) {
        let mut replies = replies.map(Vec::into_iter);
        for (at, then) in batch.then.into_iter().enumerate() {
            let reply = match &mut replies {
                Err(error) => Err(error.clone()),
                Ok(replies) => match replies.next() {
                    Some(Value::ServerError(error)) => {
                        Err(self.refused(shard, &format!("{}: {error}", subject(&batch.commands, at))))
                    }
                    Some(reply) => Ok(reply),
                    None => Err(LayerError::Refused("an answer is missing".into())),
                },
            };
            match then {
                Then::Nothing => {}
                Then::Answer(to) => drop(to.send(reply.map(drop))),
                // Who is away comes back, and is told anew; who refuses is not waited for.
                Then::Settle(group, number) => {
                    if !matches!(reply, Err(LayerError::Unavailable(_))) {
                        self.shared.members.settle([&(group, number)]);
                    }
                }
                Then::PutBack => {
                    if reply.is_err() {
                        // It is nowhere any more.
                        self.shared.counters().unpublished.one();
                    }
                }
                // Who is away may have it still: the next connection asks once more.
                Then::Left(Piece { group, names }) => {
                    self.told.left(&group, &names, !matches!(reply, Err(LayerError::Unavailable(_))));
                }
                Then::Take { channel, count } => {
                    self.taking[shard].release(&channel, count);
                    let found = reply.map(flat).unwrap_or_default();
                    let mut found = found.into_iter();
                    while let (Some(member), Some(at)) = (found.next(), found.next()) {
                        self.shared.popped(channel.clone(), member.into(), score(&at), shard);
                    }
                    wanted.insert(channel);
                }
                Then::Sent { channel, reply: to, _room } => {
                    let sent = reply.and_then(|reply| self.added(shard, reply)).and_then(|added| {
                        if added.full == 0 {
                            return Ok(());
                        }
                        self.shared.counters().queue_full.one();
                        Err(LayerError::ChannelFull(channel))
                    });
                    let _ = to.send(sent);
                }
                Then::Count { publication, queues } => {
                    let publication = &mut publications[publication];
                    match reply.and_then(|reply| self.added(shard, reply)) {
                        Ok(added) => {
                            self.shared.counters().queue_full.add(added.full);
                            publication.delivery.delivered += queues.saturating_sub(added.full);
                            publication.delivery.dropped += added.full;
                        }
                        Err(error) => publication.error = Some(error),
                    }
                }
            }
        }
    }

    pub(super) fn refused(&self, shard: usize, why: &str) -> LayerError {
        let address = self.shared.status.address(shard);
        if let Some(more) = self.shared.status.logs("refused") {
            tracing::warn!(address, why, more, "Redis refused a command");
        }
        LayerError::Refused(format!("{address}: {why}"))
    }

    /// Asks a shard; an error is the same for all commands.
    pub(super) async fn ask(&self, shard: usize, commands: &Pipeline) -> Result<Vec<Value>, LayerError> {
        self.links[shard].run(commands).await.map_err(|reason| {
            LayerError::Unavailable(format!("{}: {reason}", self.shared.status.address(shard)))
        })
    }
}
