//! Sends to groups that keep their events, and the store of their logs.

use std::{collections::HashSet, sync::Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{
    log::{
        streams::StreamState,
        tasks::{Append, AppendError, Unsure},
    },
    shared::{NatsOperation, NatsShared, Place},
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName, LayerError,
    event::{Format, wire::except},
    groups::{
        history::{
            position::Position,
            store::{Arrival, LogRead, LogStore, Part},
        },
        server_log::Brought,
    },
    layers::{Away, LayerGap},
};

/// How many bytes the headers of an entry have at most.
const HEADERS: usize = 256;

/// Reads the logs by the driver's thread.
pub(super) struct NatsStore(pub(super) Weak<NatsShared>);

impl std::fmt::Debug for NatsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NatsStore")
    }
}

impl LogStore for NatsStore {
    fn read<'a>(
        &'a self,
        group: &'a GroupName,
        part: Part,
        most: usize,
        seen: Option<Position>,
    ) -> BoxFuture<'a, Result<LogRead, LayerError>> {
        Box::pin(async move {
            let Some(shared) = self.0.upgrade() else {
                return Err(LayerError::Unavailable("the layer has ended".into()));
            };
            let Some(policy) = shared.policy(group) else {
                return Err(LayerError::Refused("the group keeps no events".into()));
            };
            if shared.driver.streams.state(policy) == StreamState::Unusable {
                return Ok(shared.driver.own_logs.read(group, part, seen));
            }
            shared.must_be_up(0)?;
            let group = group.clone();
            shared.ask(|reply| NatsOperation::ReadLog { policy, group, part, most, seen, reply }).await
        })
    }

    fn keeps(&self, group: &GroupName) -> bool {
        self.0.upgrade().is_none_or(|shared| {
            shared
                .policy(group)
                .is_none_or(|policy| shared.driver.streams.state(policy) != StreamState::Unusable)
        })
    }
}

impl NatsShared {
    /// The number of the policy that holds for a group. `None` if the group keeps nothing.
    pub(super) fn policy(&self, group: &GroupName) -> Option<usize> {
        if self.groups.directory().logs.are_kept() { self.config.layer.policy_of(group) } else { None }
    }

    /// Adds an event to the log of a group. The members get it when it is there.
    pub(super) async fn publish_logged(
        &self,
        policy: usize,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        if self.driver.streams.state(policy) == StreamState::Unusable {
            return self.publish_own(group, except, envelope, count).await;
        }
        let payload = self.write_entry(&envelope, except)?;
        if let Err(error) = self.must_be_up(0) {
            return self.unlogged(group, except, envelope, count, error).await;
        }
        let room = self.room_for(payload.len()).await?;
        let nonce = getrandom::u64().unwrap_or_default();
        let (served, was_served) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let append = Append { policy, group: group.clone(), nonce, payload, served, reply, room };
        self.tell(NatsOperation::Append(append));
        match answer.await {
            // This fails if there are no members here.
            Ok(Ok(_)) => Ok(was_served.await.unwrap_or_default()),
            // It has turned out only now that the stream cannot be used. In no log, the event might come behind later ones.
            Ok(Err(AppendError::Not(_))) if self.driver.streams.state(policy) == StreamState::Unusable => {
                self.publish_own(group, except, envelope, count).await
            }
            Ok(Err(AppendError::Not(reason))) => {
                let error = self.status.unavailable(0, &reason);
                self.unlogged(group, except, envelope, count, error).await
            }
            Ok(Err(AppendError::Unknown(reason))) => Err(self.status.unavailable(0, &reason)),
            Err(_) => Err(self.lost()),
        }
    }

    /// Writes an event with all channels that do not get it.
    ///
    /// Those of this process are among them, because the event comes back to it.
    fn write_entry(&self, envelope: &Envelope, except: &[ChannelName]) -> Result<Bytes, LayerError> {
        let event = envelope.to_wire(Format::MsgPack).map_err(LayerError::Unwritable)?;
        let names = except.iter().map(ChannelName::as_str);
        let event = except::write(Format::MsgPack, event, names).map_err(LayerError::Unwritable)?;
        let largest =
            self.driver.max_payload.load(std::sync::atomic::Ordering::Relaxed).saturating_sub(HEADERS);
        let (size, limit) = (event.len(), self.config.queue_bytes.min(largest));
        if size > limit { Err(LayerError::MessageTooLarge { size, limit }) } else { Ok(event) }
    }

    /// What becomes of an event that is in no log, because of this error.
    async fn unlogged(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
        error: LayerError,
    ) -> Result<Delivery, LayerError> {
        self.counters().unpublished.one();
        match self.config.away {
            Away::Error => Err(error),
            Away::Local => {
                let directory = self.groups.directory();
                let delivery = directory.publish_unlogged(group, except, envelope, count).await;
                self.driver.unlogged.note(group);
                Ok(delivery)
            }
        }
    }

    /// Adds an event to the process' own log, and sends it to the other processes, which do the same.
    async fn publish_own(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Result<Delivery, LayerError> {
        let must = self.config.away == Away::Error;
        if must {
            self.must_be_up(0)?;
        }
        let mut answer = None;
        if self.status.is_up(0) {
            let event = self.write(&envelope, except)?;
            let room = self.room_for(event.len()).await?;
            let (reply, answered) = if must { Some(oneshot::channel()).unzip() } else { (None, None) };
            answer = answered;
            let place = Place::new(self, room);
            self.tell(NatsOperation::Publish { group: group.clone(), event, transient: false, reply, place });
        } else {
            self.counters().unpublished.one();
        }
        let delivery = self.bring_own(group, except, envelope, count).await;
        if let Some(answer) = answer {
            answer.await.unwrap_or_else(|_| Err(self.lost()))?;
        }
        Ok(delivery)
    }

    /// Takes in an event that another process has sent past all logs, and puts it into this process' own.
    pub(super) async fn deliver_own(&self, group: &GroupName, bytes: Bytes) {
        let (bytes, except) = except::read(Format::MsgPack, bytes);
        // An event that cannot be read has been counted and logged.
        if let Ok(envelope) = self.read(group, bytes) {
            self.bring_own(group, &ChannelName::of_texts(except), envelope, false).await;
        }
    }

    async fn bring_own(
        &self,
        group: &GroupName,
        except: &[ChannelName],
        envelope: Envelope,
        count: bool,
    ) -> Delivery {
        let directory = self.groups.directory();
        let Some(log) = directory.logs.find(group) else {
            // Only consumers have places in a log. Here are queues, or nobody. One that joins at this moment is not promised
            // the event, and might get it behind later ones.
            return directory.publish_to_queues_of(group, except, &envelope);
        };
        let epoch = self.driver.own_logs.epoch(group);
        if log.opened().is_none() || log.seen().is_none_or(|seen| seen.epoch != epoch) {
            // It was not open, or was kept in JetStream before.
            let _ = directory.fill(&log).await;
        }
        directory.publish_logged(&log, except, envelope, count).await
    }

    /// Takes in an entry of a log, and hands it to the members here.
    pub(super) async fn deliver_entry(&self, group: &GroupName, arrival: Arrival, count: bool) -> Delivery {
        // An event that cannot be read has been counted and logged.
        match self.read(group, arrival.entry.payload.clone()) {
            Ok(envelope) => self.bring(group, arrival, envelope, count).await,
            Err(_) => Delivery::default(),
        }
    }

    async fn bring(&self, group: &GroupName, arrival: Arrival, envelope: Envelope, count: bool) -> Delivery {
        let directory = self.groups.directory();
        match directory.take_in(group, arrival, envelope, count).await {
            Brought::Whole(delivery) => delivery,
            Brought::Gap(log) => {
                // If the server cannot be read, the layer fills the log when it is back.
                let _ = directory.fill(&log).await;
                Delivery::default()
            }
        }
    }

    /// Tells the callers of events whose fate is not known, if the server has been away for too long.
    pub(super) fn give_up_unsure(&self) {
        let late: Vec<Unsure> = {
            let mut unsure = self.driver.unsure();
            unsure.extract_if(.., |unsure| unsure.since.elapsed() >= self.config.timeout).collect()
        };
        for unsure in late {
            // This fails if the caller has gone.
            let _ = unsure.reply.send(Err(AppendError::Unknown(super::expected::LOST.to_owned())));
        }
    }

    /// Hands an event that is in no log to the members here.
    pub(super) async fn deliver_foreign(&self, group: &GroupName, bytes: Bytes, mark: Option<f64>) {
        let (bytes, except) = except::read(Format::MsgPack, bytes);
        // An event that cannot be read has been counted and logged.
        let Ok(envelope) = self.read(group, bytes) else { return };
        let except = ChannelName::of_texts(except);
        self.groups
            .directory()
            .publish_foreign(group, &except, envelope, mark.unwrap_or(f64::NEG_INFINITY))
            .await;
    }

    /// Reads what the logs of these groups lack. Members that may miss something all the same are told of a gap.
    pub(super) async fn refill(&self, groups: Vec<GroupName>, seconds: Option<f64>) {
        let groups: HashSet<_> = groups.into_iter().collect();
        let filled = self.groups.directory().refill_all(|group| groups.contains(group)).await;
        // If the server is away again, this is done again when it is back.
        let Some(seconds) = seconds.filter(|_| self.status.is_up(0)) else { return };
        for group in groups.difference(&filled) {
            let gap = Envelope::new(LayerGap::new(group.clone(), seconds));
            self.groups.directory().publish(group, &[], gap, false).await;
        }
    }
}
