//! The logs on an open connection: new entries, marks, and what callers ask for.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Message as NatsMessage;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    sync::oneshot,
    task::spawn_local,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    api::JetStreamError,
    entry::{Stored, What},
    read::Reader,
    streams::{StreamState, Streams},
    tasks::{Append, AppendError, ForeignEvent, Unsure},
};
use crate::{
    Delivery, GroupName, LayerError,
    groups::history::{
        position::Position,
        store::{Arrival, LogRead, Part},
    },
    layers::nats::{
        link::NatsLink,
        shared::{NatsShared, NatsSource},
    },
};

/// How long a sender waits until the server tells of its event, after the answer.
const TOLD: Duration = Duration::from_secs(1);
/// How many marks are written at once.
pub(super) const MARKS: usize = 32;
/// How often the state of a stream that cannot be used is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// So long after it is connected, a process tells of its events that are in no log. By then its own logs are filled, and
/// its members, which have these events, are not told that they may miss something.
const TELL: Duration = Duration::from_secs(1);

impl NatsLink {
    fn streams(&self) -> &Streams {
        &self.shared.driver.streams
    }

    /// Subscribes to the log of a group.
    pub(in crate::layers::nats) async fn hear_log(
        self: &Rc<Self>,
        group: &GroupName,
        policy: usize,
    ) -> Result<(), String> {
        let (link, name) = (Rc::downgrade(self), group.clone());
        let hear = move |message: NatsMessage| {
            if let Some(link) = link.upgrade() {
                link.logged(&name, policy, &message);
            }
        };
        let heard = self.subscribe_group(self.shared.driver.subjects.at(group), hear).await?;
        self.logs.borrow_mut().insert(group.clone(), heard);
        Ok(())
    }

    /// Of these groups, those whose streams answer. The logs of the others are read when their streams do.
    pub(in crate::layers::nats) fn without_unread(&self, mut groups: Vec<GroupName>) -> Vec<GroupName> {
        groups.retain(|group| match self.shared.policy(group) {
            Some(policy) if matches!(self.streams().state(policy), StreamState::Unknown(_)) => {
                self.unread.borrow_mut().insert(policy);
                false
            }
            _ => true,
        });
        groups
    }

    /// Takes in what the server tells of a log.
    fn logged(self: &Rc<Self>, group: &GroupName, policy: usize, message: &NatsMessage) {
        if self.shared.driver.subjects.policy_at(&message.subject) != Some(policy) {
            self.warn_policies();
            let payload = Bytes::copy_from_slice(&message.payload);
            self.foreign(ForeignEvent { group: group.clone(), policy, payload });
            return;
        }
        let Some(stored) = Stored::read(message) else {
            // Another process tells that it has an event which is in no log.
            self.refill_group(group);
            return;
        };
        let prev = self.streams().before(group, stored.last.unwrap_or_default());
        self.streams().heard(group, &stored);
        let What::Entry { nonce, epoch: said, .. } = &stored.what else { return };
        let served = nonce.and_then(|nonce| self.pending.borrow_mut().remove(&nonce));
        let StreamState::Ready { epoch, .. } = self.streams().state(policy) else { return };
        let said = *said;
        let Some(entry) = stored.into_entry() else { return };
        let arrival = Arrival { epoch, entry, prev, prev_tag: None };
        if said.is_some_and(|said| said != epoch) && self.streams().may_look(policy) {
            // The stream was made anew, or the sender does not know it yet.
            let (link, group) = (Rc::clone(self), group.clone());
            spawn_local(async move {
                if let Some(stream) = link.streams().of(policy) {
                    // What went wrong is kept and logged.
                    let _ = stream.look(&link).await;
                }
                if let StreamState::Ready { epoch, .. } = link.streams().state(policy) {
                    link.offer_entry(&group, Arrival { epoch, ..arrival }, served);
                }
            });
            return;
        }
        self.offer_entry(group, arrival, served);
    }

    fn offer_entry(&self, group: &GroupName, arrival: Arrival, served: Option<oneshot::Sender<Delivery>>) {
        let payload = arrival.entry.payload.clone();
        let source = NatsSource::Log { group: group.clone(), arrival, served };
        if !self.inbox.offer(payload, source) {
            self.miss_group(group);
        }
    }

    fn warn_policies(&self) {
        if let Some(more) = self.shared.status.logs("history policies") {
            self.fate.log(|| {
                tracing::warn!(
                    more,
                    "another process has other policies for a group's history, and its events are in no log here: give \
                     all processes the same policies in the same order"
                );
            });
        }
    }

    /// Begins to add an event to its log.
    pub(in crate::layers::nats) fn append(self: &Rc<Self>, append: Append) {
        let Append { policy, group, nonce, payload, served, reply, room } = append;
        self.pending.borrow_mut().insert(nonce, served);
        let seen = self.shared.groups.directory().logs.find(&group).and_then(|log| log.seen());
        let unsure = Unsure { policy, group: group.clone(), nonce, since: Instant::now(), seen, reply };
        let appending = Appending::new(&self.shared, unsure);
        let link = Rc::clone(self);
        spawn_local(async move {
            let done = link.streams().append(&link, policy, &group, nonce, payload).await;
            let is_here = done.is_ok() && link.logs.borrow().contains_key(&group);
            appending.end(done);
            drop(room);
            if is_here && link.pending.borrow().contains_key(&nonce) {
                // The server tells of an entry before it answers, if both come by the same way.
                sleep(TOLD).await;
            }
            link.pending.borrow_mut().remove(&nonce);
        });
    }

    /// Reads a part of a log.
    pub(in crate::layers::nats) async fn read_log(
        self: &Rc<Self>,
        policy: usize,
        group: &GroupName,
        part: Part,
        most: usize,
        seen: Option<Position>,
    ) -> Result<LogRead, LayerError> {
        let unavailable = |reason: String| self.shared.status.unavailable(0, &reason);
        let reader =
            self.reader(policy, group).ok_or_else(|| unavailable("there is no such policy".into()))?;
        let read = reader.read(part, most, seen).await;
        if self.streams().state(policy) == StreamState::Unusable {
            return Ok(self.shared.driver.own_logs.read(group, part, seen));
        }
        read.map_err(|error| unavailable(error.to_string()))
    }

    fn reader<'a>(self: &'a Rc<Self>, policy: usize, group: &'a GroupName) -> Option<Reader<'a>> {
        let (streams, subjects) = (self.streams(), &self.shared.driver.subjects);
        let stream = streams.of(policy)?;
        let (subject, foreign) = (subjects.log(policy, group), subjects.foreign(policy, group));
        Some(Reader { streams, stream, api: stream.api(self), group, subject, foreign })
    }

    /// Finds out what became of the events for which there was no answer when the last connection was lost.
    pub(in crate::layers::nats) async fn find_unsure(self: &Rc<Self>) {
        let unsure = std::mem::take(&mut *self.shared.driver.unsure());
        stream::iter(unsure)
            .for_each_concurrent(MARKS, async |unsure| {
                let done = match self.reader(unsure.policy, &unsure.group) {
                    Some(reader) => reader.find(&unsure).await,
                    None => Err(AppendError::Not("the connection was lost".into())),
                };
                // This fails if the caller has gone.
                let _ = unsure.reply.send(done);
            })
            .await;
    }

    /// Keeps the ends of the logs from getting too old, and looks at streams that could not be used.
    pub(in crate::layers::nats) async fn keep_logs(self: &Rc<Self>) {
        let shortest = self.shared.config.layer.history.iter().map(|(_, history)| history.time()).min();
        let Some(shortest) = shortest else { return std::future::pending().await };
        let mut tick = interval((shortest / 16).clamp(Duration::from_millis(50), Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let connected = Instant::now();
        let mut looked = connected;
        loop {
            tick.tick().await;
            if looked.elapsed() >= LOOK_AGAIN {
                looked = Instant::now();
                self.look_again().await;
                if self.shared.groups.directory().logs.secret().is_none() {
                    self.find_secret().await;
                }
            }
            self.end_lingering().await;
            if connected.elapsed() >= TELL {
                self.tell_unlogged().await;
            }
            let due: Vec<(GroupName, usize)> = {
                let logs = self.logs.borrow();
                let due = |group: &&GroupName| self.streams().is_due(group, self.within(group));
                let with_policy = |group: &GroupName| Some((group.clone(), self.shared.policy(group)?));
                logs.keys().filter(due).filter_map(with_policy).collect()
            };
            stream::iter(due)
                .for_each_concurrent(MARKS, async |(group, policy)| {
                    // It is tried again at the next tick.
                    let _ = self.keep_log(&group, policy).await;
                })
                .await;
        }
    }

    /// Ends the subscriptions to groups that have had no members for as long as their logs reach back.
    async fn end_lingering(&self) {
        let now = Instant::now();
        let over: Vec<_> = {
            let mut lingering = self.lingering.borrow_mut();
            lingering.extract_if(|_, until| *until <= now).map(|(group, _)| group).collect()
        };
        for group in over {
            self.unhear_group(&group).await;
        }
    }

    /// Forgets what is known of a log whose news do not come any more.
    pub(in crate::layers::nats) fn forget_log(&self, group: &GroupName) {
        self.streams().forget(group);
        self.shared.driver.own_logs.end(group);
    }

    fn within(&self, group: &GroupName) -> Duration {
        self.shared.config.layer.history_of(group).map_or(Duration::MAX, |history| history.time())
    }

    /// Looks at the end of a log, and writes a mark there if its last message is old.
    async fn keep_log(self: &Rc<Self>, group: &GroupName, policy: usize) -> Result<(), JetStreamError> {
        let Some(reader) = self.reader(policy, group) else { return Ok(()) };
        if self.streams().state(policy) == StreamState::Unusable {
            return Ok(());
        }
        let Some(top) = reader.top().await? else { return Ok(()) };
        self.streams().heard(group, &top);
        let log = self.shared.groups.directory().logs.find(group);
        if log.and_then(|log| log.seen()).is_some_and(|seen| seen.offset != top.spot().offset) {
            // It was not told of something.
            self.refill_group(group);
        }
        if !self.streams().is_old(group, self.within(group)) {
            return Ok(());
        }
        match reader.api.mark(policy, group, Some(top.spot()), top.sequence).await {
            Ok((sequence, spot)) => {
                self.streams().heard(group, &Stored::new_mark(sequence, spot));
                Ok(())
            }
            // Another process has written it, or an event has come.
            Err(JetStreamError::Overtaken) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn look_again(self: &Rc<Self>) {
        let mut found = Vec::new();
        for policy in self.streams().not_ready() {
            let Some(stream) = self.streams().of(policy) else { continue };
            if stream.look(self).await.is_ok() {
                found.push(policy);
            }
        }
        // Something else may have found that a stream answers.
        let is_read = |policy: &usize| !matches!(self.streams().state(*policy), StreamState::Unknown(_));
        found.extend(self.unread.borrow_mut().extract_if(is_read));
        if !found.is_empty() {
            let groups: Vec<_> = {
                let logs = self.logs.borrow();
                let is_found = |group: &&GroupName| {
                    self.shared.policy(group).is_some_and(|policy| found.contains(&policy))
                };
                logs.keys().filter(is_found).cloned().collect()
            };
            self.inbox.message(Bytes::new(), NatsSource::Refill { groups, seconds: None }).await;
        }
    }
}

/// Notes an event whose fate is not known, if the connection is lost while it waits for the answer.
struct Appending {
    shared: Arc<NatsShared>,
    unsure: Option<Unsure>,
}

impl Appending {
    fn new(shared: &Arc<NatsShared>, unsure: Unsure) -> Self {
        Self { shared: Arc::clone(shared), unsure: Some(unsure) }
    }

    /// Tells the caller what became of the event.
    fn end(mut self, done: Result<Position, AppendError>) {
        if let Some(unsure) = self.unsure.take() {
            // This fails if the caller has gone.
            let _ = unsure.reply.send(done);
        }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if let Some(unsure) = self.unsure.take() {
            self.shared.driver.unsure().push(unsure);
        }
    }
}
