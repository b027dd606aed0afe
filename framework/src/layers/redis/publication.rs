//! Events to groups: who is in them is looked up, then one message is written for each process that is.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use futures_util::future::join_all;
use redis::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    batch::{Batch, Then},
    config::Names,
    inbound::unix_time,
    link::flat,
    names::{channel_key, group_key, process_number, shard_of},
    queue::Queue,
    shared::Operation,
    writer::Io,
};
use crate::{
    ChannelName, Delivery, Envelope, GroupName, event::wire::addressed::Address, layers::LayerError,
};

pub(super) struct Publication {
    pub(super) delivery: Delivery,
    pub(super) error: Option<LayerError>,
    pub(super) reply: Option<oneshot::Sender<Result<Delivery, LayerError>>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// Who is in a group, so far as Redis says.
pub(super) type Found = Result<Vec<String>, LayerError>;

impl Io {
    /// Who is in the groups that are published to.
    pub(super) async fn look_up(&self, operations: &[Operation]) -> HashMap<GroupName, Found> {
        let mut groups: Vec<Vec<GroupName>> = self.links.iter().map(|_| Vec::new()).collect();
        let mut seen = HashSet::new();
        for operation in operations {
            if let Operation::Publish { group, .. } = operation
                && seen.insert(group)
            {
                groups[self.shared.group_shard(group)].push(group.clone());
            }
        }
        let oldest = unix_time() - self.shared.config.layer.group_expiry.as_secs_f64();
        let look_ups = groups.into_iter().enumerate().map(|(shard, groups)| async move {
            let mut commands = redis::pipe();
            for group in &groups {
                let key = group_key(&self.shared.config.prefix, group);
                commands.cmd("ZREMRANGEBYSCORE").arg(&key).arg(0).arg(oldest.max(0.0) as u64);
                commands.cmd("ZRANGE").arg(&key).arg(0).arg(-1);
            }
            let replies = self.ask(shard, &commands).await;
            (shard, groups, replies)
        });
        let mut names = HashMap::new();
        for (shard, groups, replies) in join_all(look_ups).await {
            match replies {
                Err(error) => names.extend(groups.into_iter().map(|group| (group, Err(error.clone())))),
                Ok(replies) => {
                    let mut replies = replies.into_iter();
                    for group in groups {
                        let (_removed, found) = (replies.next(), replies.next());
                        let names_of_group = self.names(shard, &group, found);
                        names.insert(group, names_of_group);
                    }
                }
            }
        }
        names
    }

    fn names(&self, shard: usize, group: &GroupName, reply: Option<Value>) -> Found {
        match reply {
            Some(Value::ServerError(error)) => {
                let key = group_key(&self.shared.config.prefix, group);
                Err(self.refused(shard, &format!("ZRANGE {key}: {error}")))
            }
            Some(reply) => {
                Ok(flat(reply).into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
            }
            None => Err(LayerError::Refused("an answer is missing".into())),
        }
    }

    pub(super) fn publish(
        &self,
        group: &GroupName,
        names: &[String],
        envelope: &Envelope,
        event: &Bytes,
        publication: usize,
        batches: &mut [Batch],
    ) {
        let shared = &self.shared;
        // In the order of their first names, so that equal calls are equal on the wire.
        let mut queues: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in names {
            let non_local = name.find('!').map_or(name.as_str(), |at| &name[..=at]);
            if non_local == shared.process {
                self.deliver_own(group, name, envelope, event.len());
            } else {
                queues.entry(non_local).or_default().push(name);
            }
        }
        let mut adds: Vec<Vec<Queue>> = batches.iter().map(|_| Vec::new()).collect();
        for (non_local, names) in queues {
            let capacity = ChannelName::new(names[0])
                .map_or(shared.config.layer.capacity, |first| shared.config.layer.capacity_of(&first));
            match shared.codec.frame(event, Some(Address::Many(&names))) {
                Ok(message) => adds[shard_of(non_local, batches.len())].push(Queue {
                    key: channel_key(&shared.config.prefix, non_local),
                    message,
                    capacity,
                }),
                Err(error) => tracing::error!(%group, %error, "an event cannot be addressed"),
            }
        }
        for (batch, queues) in batches.iter_mut().zip(adds) {
            if !queues.is_empty() {
                let then = Then::Count { publication, queues: queues.len() as u64 };
                batch.push(self.add(&queues), then);
            }
        }
    }

    /// A name of this process: a member was served before; a consumer that another program put in is served now.
    fn deliver_own(&self, group: &GroupName, name: &str, envelope: &Envelope, bytes: usize) {
        let Ok(channel) = ChannelName::new(name) else { return };
        let local = channel.local().unwrap_or_default();
        let is_served = match self.shared.config.names {
            Names::Connection => self.told.has(group, name),
            Names::Process => process_number(local).is_some(),
        };
        if !is_served && !self.inbox.direct(channel, envelope.clone(), bytes) {
            self.shared.counters().unpublished.one();
            tracing::debug!(%group, name, "no room for an event to a consumer of this process");
        }
    }

    pub(super) fn finish(&self, publication: Publication) {
        if publication.error.is_some() {
            self.shared.counters().unpublished.one();
        }
        if let Some(reply) = publication.reply {
            let _ = reply.send(match publication.error {
                Some(error) => Err(error),
                None => Ok(publication.delivery),
            });
        }
    }
}
