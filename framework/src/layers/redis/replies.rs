//! Handles the replies to a batch of commands.

use std::{cell::Cell, collections::HashSet, sync::atomic::Ordering::Release};

use redis::Value;
use tokio::task::spawn_local;

use super::{
    batch::{CommandBatch, Mark, Replies, Then},
    link::{flat, score},
    log::linked::Linked,
    queue::Added,
    told::Piece,
    writer::CoreIo,
};
use crate::{Delivery, layers::LayerError};

impl CoreIo {
    /// Does with each reply what its command asks for.
    pub(super) fn take_replies(
        &self,
        shard: usize,
        batch: CommandBatch,
        replies: Result<Vec<Value>, String>,
        is_sent: bool,
    ) {
        let mut wanted = HashSet::new();
        let mut late = Vec::new();
        let mut replies = Replies::new(&self.shared.status, shard, &batch.commands, replies);
        for (at, then) in batch.then.into_iter().enumerate() {
            let reply = replies.next();
            if replies.is_forgotten()
                && let Some(full) =
                    batch.commands.cmd_iter().nth(at).and_then(|short| self.logs.kept[shard].in_full(short))
            {
                // Redis keeps a script that it runs, so the next command names it by its hash again.
                self.push(shard, full, then);
                continue;
            }
            match then {
                // The server may have carried it out before the connection was lost.
                Then::Append { appending, .. } if reply.is_err() && is_sent && !replies.is_answered() => {
                    self.keep_unsure(shard, *appending);
                }
                Then::Append { appending, queues, elsewhere, room } => {
                    self.appended(shard, appending, queues, elsewhere, room, reply);
                }
                Then::Spread { spreading, queues } => {
                    // What is not written here is in the log, where the process finds it.
                    let _ = self.count(shard, queues, reply, &spreading.delivery);
                }
                Then::Nothing => {}
                Then::Answer(to) => drop(to.send(reply.map(drop))),
                Then::Joined(Piece { group, names }, number) => {
                    // If the shard is away, the next connection announces the group again.
                    if matches!(reply, Err(LayerError::Unavailable(_))) {
                        continue;
                    }
                    let may_pass = replies.may_pass();
                    if may_pass {
                        self.refused.notify_one();
                    }
                    if let Some(since) = self.told.joined(&group, &names, may_pass) {
                        late.push((group.clone(), since));
                    }
                    // A refusal ends the wait, too.
                    self.shared.members.settle(number.map(|number| (group, number)).iter());
                }
                Then::PutBack => {
                    if reply.is_err() {
                        // The message is lost.
                        self.shared.counters().unpublished.one();
                    }
                }
                // A shard that is away may still have the names. The next connection asks once more.
                Then::Left(piece) => {
                    self.left(shard, piece, !matches!(reply, Err(LayerError::Unavailable(_))));
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
                    publication.waits_for.set(publication.waits_for.get() - 1);
                    if let Err(error) = self.count(shard, queues, reply, &publication.delivery) {
                        publication.error.replace(Some(error));
                    }
                }
            }
        }
        for mark in batch.marks {
            if let Mark::Told(count) = mark {
                self.shared.told[shard].fetch_max(count, Release);
                self.shared.members.changed.notify_waiters();
            }
        }
        self.wake_readers(&wanted);
        if !late.is_empty() {
            let inbox = self.inbox.clone();
            spawn_local(async move {
                for (group, since) in late {
                    inbox.gap(vec![group], since.as_secs_f64()).await;
                }
            });
        }
    }

    /// Counts what became of a message to so many queues of a shard.
    fn count(
        &self,
        shard: usize,
        queues: u64,
        reply: Result<Value, LayerError>,
        delivery: &Cell<Delivery>,
    ) -> Result<(), LayerError> {
        let Added { full } = self.added(shard, reply?)?;
        self.shared.counters().queue_full.add(full);
        let mut sum = delivery.get();
        sum.delivered += queues.saturating_sub(full);
        sum.dropped += full;
        delivery.set(sum);
        Ok(())
    }
}
