//! What the logs of groups need of both kinds of layers on Redis, and do for them on the driver's thread.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::{sync::OwnedSemaphorePermit, task::spawn_local, time::Instant};

use super::{
    append::{Answer, Appending, Settled},
    publish::Counted,
    scripts::{Kept, Script, note_other_policy, policy_text},
    store::RedisLogs,
    unsure::UnsureEvents,
};
use crate::{
    GroupName,
    groups::{directory::Directory, history::policy::History},
    layers::{
        LayerError,
        redis::link::RedisLink,
        server::{
            driver::{Driver, InboundSenderOf},
            shared::Shared,
            status::Status,
        },
    },
};

/// How many differences between policies are remembered. Of further ones, reading says nothing.
const DIFFERING: usize = 64;

/// A driver whose groups may have logs.
pub(in crate::layers::redis) trait LoggedDriver: Driver {
    fn logs(&self) -> &RedisLogs;

    /// What is counted of own events that the server brings back. `None` if it brings none back.
    fn counted(&self) -> Option<&Counted>;

    /// The source of an event of this process whose fate is known.
    fn own(settled: Box<Settled>) -> Self::Source;
}

/// The state of the driver's thread, as the logs need it.
pub(in crate::layers::redis) trait Linked: Sized + 'static {
    type Kind: LoggedDriver;

    fn shared(&self) -> &Arc<Shared<Self::Kind>>;
    fn inbox(&self) -> &InboundSenderOf<Self::Kind>;
    fn link(&self, shard: usize) -> &RedisLink;
    fn state(&self) -> &LogState;

    fn status(&self) -> &Status {
        &self.shared().status
    }

    fn prefix(&self) -> &str {
        &self.shared().config.prefix
    }

    fn logs(&self) -> &RedisLogs {
        self.shared().driver.logs()
    }

    fn directory(&self) -> &Arc<Directory> {
        self.shared().groups.directory()
    }

    /// Begins a command that runs a script on a shard.
    fn script(&self, shard: usize, script: Script, keys: &[impl AsRef<str>]) -> Cmd {
        self.state().kept[shard].call(script, keys)
    }

    /// Begins the command that appends an event to its log, and notes when it does.
    fn append_by(
        &self,
        script: Script,
        shard: usize,
        keys: &[impl AsRef<str>],
        appending: &mut Appending,
    ) -> Cmd {
        let mut command = self.script(shard, script, keys);
        let seen = self.directory().logs.find(&appending.group).and_then(|log| log.seen());
        appending.sent = (Instant::now(), seen);
        appending.arguments().add_to(&mut command);
        command
    }

    /// Reads the answer to an append. Says so if another process has another policy for the group.
    fn answer(&self, reply: Value, appending: &Appending) -> Result<Answer, LayerError> {
        let answer = Answer::read(reply, appending.tag).ok_or_else(|| {
            LayerError::Refused("the answer to an append has another form than it must have".into())
        })?;
        if let Some(other) = &answer.other {
            let _ = note_other_policy(self.status(), &appending.group, appending.policy, other);
        }
        Ok(answer)
    }

    /// Compares the policy with which others append to a log with that of this process, which only reads it.
    ///
    /// The policy may have been changed everywhere since the last event. So each difference is logged once.
    fn compare_policy(&self, group: &GroupName, ours: History, theirs: Option<&str>) {
        let Some(theirs) = theirs else { return };
        let text = policy_text(ours);
        if text == theirs {
            return;
        }
        let known = &self.state().differing;
        let difference = (text, theirs.to_owned());
        if known.borrow().len() < DIFFERING
            && !known.borrow().contains(&difference)
            && note_other_policy(self.status(), group, ours, theirs)
        {
            known.borrow_mut().insert(difference);
        }
    }

    /// See [`hand_on`].
    fn hand_on(&self, settled: Settled, room: OwnedSemaphorePermit) {
        hand_on::<Self::Kind>(self.inbox(), settled, room);
    }

    /// Keeps an event until the next connection tells whether it is in its log.
    fn keep_unsure(&self, shard: usize, appending: Appending) {
        if let Some(appending) = self.state().unsure.push(shard, appending) {
            // The caller learns that nobody knows.
            self.shared().counters().unpublished.one();
            if let Some(counted) = self.shared().driver.counted() {
                counted.take(appending.tag);
            }
        }
    }

    /// Tells the members of a group that they may have missed events.
    fn tell_gap(&self, group: GroupName) {
        let inbox = self.inbox().clone();
        spawn_local(async move { inbox.gap(vec![group], 0.0).await });
    }
}

/// What the driver's thread knows of the logs on each shard.
pub(in crate::layers::redis) struct LogState {
    /// The scripts that each shard keeps.
    pub(in crate::layers::redis) kept: Vec<Kept>,
    pub(in crate::layers::redis) unsure: UnsureEvents,
    /// The policies of this process from which others differ, each with the other one.
    differing: RefCell<HashSet<(String, String)>>,
}

impl LogState {
    pub(in crate::layers::redis) fn new(shards: usize) -> Self {
        let kept = (0..shards).map(|_| Kept::default()).collect();
        Self { kept, unsure: UnsureEvents::new(shards), differing: RefCell::default() }
    }
}

/// Hands an event of this process, whose fate is known, to the thread that delivers.
pub(in crate::layers::redis) fn hand_on<D: LoggedDriver>(
    inbox: &InboundSenderOf<D>,
    settled: Settled,
    room: OwnedSemaphorePermit,
) {
    inbox.held(Bytes::new(), D::own(Box::new(settled)), room);
}
