//! What the pub/sub layer publishes, and what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    batch::Replies,
    link::{RedisLink, flat, score},
    listening::first_mark,
    log::{
        append::{AppendError, Appending, Settled},
        linked::{Linked, LogState, LoggedDriver},
        publish::Counted,
        scripts::{Script, state_seconds},
        secret::keep_secret,
        store::RedisLogs,
    },
    names::log_keys,
    subscriber::PubSubIo,
    topics::{PubSub, PubSubOperation, PubSubShared, PubSubSource},
};
use crate::{
    Delivery, GroupName,
    layers::{LayerError, server::driver::InboundSenderOf},
};

/// Who waits for the answer to a command.
pub(super) enum Caller {
    Append(Box<Appending>, OwnedSemaphorePermit),
    /// Gets the number of subscribers.
    Publish(oneshot::Sender<Result<u64, LayerError>>, OwnedSemaphorePermit),
}

impl LoggedDriver for PubSub {
    fn logs(&self) -> &RedisLogs {
        &self.logs
    }

    fn counted(&self) -> Option<&Counted> {
        Some(&self.counted)
    }

    fn own(settled: Box<Settled>) -> PubSubSource {
        PubSubSource::Own(settled)
    }
}

impl Linked for PubSubIo {
    type Kind = PubSub;

    fn shared(&self) -> &Arc<PubSubShared> {
        &self.shared
    }

    fn inbox(&self) -> &InboundSenderOf<PubSub> {
        &self.inbox
    }

    fn link(&self, shard: usize) -> &RedisLink {
        &self.links[shard]
    }

    fn state(&self) -> &LogState {
        &self.logs
    }
}

impl PubSubShared {
    /// Notes that this process has missed something of a group with a log, other than an entry.
    pub(super) fn missed(&self, group: GroupName) {
        if self.has_log(&group) {
            self.driver.listening.forget(&group);
            self.tell(PubSubOperation::Listens(group));
        }
    }
}

impl PubSubIo {
    /// The command that appends an event to its log, and publishes it.
    pub(super) fn append(&self, shard: usize, appending: &mut Appending) -> Cmd {
        let shared = &self.shared;
        let keys = log_keys(&shared.config.prefix, &appending.group);
        let mut command = self.append_by(Script::AppendToTopics, shard, &keys, appending);
        command.arg(shared.side_topic(&appending.group)).arg(shared.topic(&appending.group));
        command
    }

    /// The command that publishes a message. If there is a topic beside its own, that one gets a notice.
    pub(super) fn put(&self, shard: usize, topic: &str, beside: Option<&str>, message: &Bytes) -> Cmd {
        let Some(beside) = beside else {
            let mut command = redis::cmd("PUBLISH");
            command.arg(topic).arg(&message[..]);
            return command;
        };
        let none: [&str; 0] = [];
        let mut command = self.script(shard, Script::Transient, &none);
        command.arg(beside).arg(topic).arg(&message[..]);
        command
    }

    /// Runs commands, and tells the callers. Returns the commands whose scripts the server has forgotten, in full, and
    /// their callers.
    pub(super) async fn run(
        &self,
        shard: usize,
        commands: Pipeline,
        callers: Vec<Caller>,
        is_sent: bool,
    ) -> (Vec<Caller>, Pipeline) {
        let results = self.links[shard].run(&commands).await;
        let mut replies = Replies::new(&self.shared.status, shard, &commands, results);
        let (mut again, mut in_full) = (Vec::new(), redis::pipe());
        let mut is_new = false;
        for (command, caller) in commands.cmd_iter().zip(callers) {
            let reply = replies.next();
            if replies.is_forgotten()
                && let Some(full) = self.logs.kept[shard].in_full(command)
            {
                in_full.add_command(full);
                again.push(caller);
                continue;
            }
            match caller {
                Caller::Publish(caller, _room) => {
                    let count = |reply| flat(reply).first().map_or(0, |count| score(count) as u64);
                    // The caller may have gone.
                    let _ = caller.send(reply.map(count));
                }
                Caller::Append(appending, room) => {
                    let outcome = match reply {
                        // The server may have carried it out before the connection was lost.
                        Err(_) if is_sent && !replies.is_answered() => {
                            self.keep_unsure(shard, *appending);
                            continue;
                        }
                        reply => reply.and_then(|reply| self.answer(reply, &appending)),
                    };
                    let outcome = outcome.map(|answer| {
                        is_new |= answer.place.at.offset == 1;
                        let delivered = answer.count.saturating_sub(appending.is_heard.into());
                        (answer.place, Delivery { delivered, ..Delivery::default() })
                    });
                    let outcome = outcome.map_err(AppendError::Not);
                    self.hand_on(Settled { appending: *appending, outcome }, room);
                }
            }
        }
        if is_new && let Some(command) = keep_secret(self) {
            // A log is new. Perhaps all keys were deleted.
            let mut commands = redis::pipe();
            commands.add_command(command);
            let _ = self.links[0].run(&commands).await;
        }
        (again, in_full)
    }

    /// Says that this process listens to these groups, and gives the numbers under which it does.
    ///
    /// From there on it counts events of other programs as all others do.
    pub(super) async fn join(&self, shard: usize, groups: &[&GroupName]) -> Vec<Option<u64>> {
        let shared = &self.shared;
        let mut commands = redis::pipe();
        for group in groups {
            let [state, _] = log_keys(&shared.config.prefix, group);
            let mut command = self.script(shard, Script::Listen, &[state]);
            let policy = shared.driver.logs.policy(group);
            command.arg(shared.side_topic(group)).arg(state_seconds(policy));
            commands.add_command(command);
        }
        let results = self.links[shard].run(&commands).await;
        let mut replies = Replies::new(&shared.status, shard, &commands, results);
        // What is refused is logged. The events of other programs then have no marks.
        let number = |reply| flat(reply).first().map(|number| score(number) as u64);
        groups.iter().map(|_| replies.next().ok().and_then(number)).collect()
    }

    /// Says it again, after this process has missed something: perhaps an event of another program.
    pub(super) async fn join_again(&self, shard: usize, groups: Vec<GroupName>) {
        let groups: Vec<&GroupName> = groups.iter().collect();
        for (group, number) in groups.iter().zip(self.join(shard, &groups).await) {
            if let Some(number) = number {
                // No member here has this mark, so that none is told that it has missed nothing.
                self.shared.driver.logs.note(group, first_mark(number));
            }
        }
    }
}
