//! Handles the replies to a batch of commands.

use std::collections::HashSet;

use redis::Value;

use super::{
    batch::{CommandBatch, Progress, Replies, Then},
    link::{flat, score},
    told::Piece,
    writer::CoreIo,
};
use crate::{ChannelName, layers::LayerError};

impl CoreIo {
    /// Does with each reply what its command asks for.
    ///
    /// Channels of which messages were taken are added to `wanted`.
    pub(super) fn take_replies(
        &self,
        shard: usize,
        batch: CommandBatch,
        replies: Result<Vec<Value>, String>,
        publications: &mut [Progress],
        wanted: &mut HashSet<ChannelName>,
    ) {
        let mut replies = Replies::new(&self.shared.status, shard, &batch.commands, replies);
        for then in batch.then {
            let reply = replies.next();
            match then {
                Then::Nothing => {}
                Then::Answer(to) => drop(to.send(reply.map(drop))),
                // If the shard is away, the next connection announces the group again. A refusal ends the
                // wait.
                Then::Settle(group, number) => {
                    if !matches!(reply, Err(LayerError::Unavailable(_))) {
                        self.shared.members.settle([&(group, number)]);
                    }
                }
                Then::PutBack => {
                    if reply.is_err() {
                        // The message is lost.
                        self.shared.counters().unpublished.one();
                    }
                }
                // A shard that is away may still have the names. The next connection asks once more.
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
}
