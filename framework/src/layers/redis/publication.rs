//! Sends events to groups.
//!
//! The members of a group are looked up. Then one message is written for each process that has members.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use bytes::Bytes;

use super::{
    batch::{Progress, Replies, Then},
    config::Names,
    link::{flat, unix_time},
    names::{channel_key, group_key, process_number, shard_of},
    queue::QueueMessage,
    state::CoreOperation,
    writer::{CoreIo, LaneOperation},
};
use crate::{ChannelName, Envelope, GroupName, event::wire::addressed::Recipients, layers::LayerError};

/// The names that Redis has in a group.
pub(super) type FoundNames = Result<Vec<String>, LayerError>;

impl CoreIo {
    /// Looks up the names in all groups of a shard to which the operations publish.
    pub(super) async fn look_up(
        &self,
        shard: usize,
        operations: &[LaneOperation],
    ) -> HashMap<GroupName, FoundNames> {
        let mut groups = Vec::new();
        let mut seen = HashSet::new();
        for operation in operations {
            if let LaneOperation::Core(CoreOperation::Publish(publication)) = operation
                && seen.insert(&publication.group)
            {
                groups.push(publication.group.clone());
            }
        }
        let oldest = unix_time() - self.shared.config.layer.group_expiry.as_secs_f64();
        let mut commands = redis::pipe();
        for group in &groups {
            let key = group_key(&self.shared.config.prefix, group);
            commands.cmd("ZREMRANGEBYSCORE").arg(&key).arg(0).arg(oldest.max(0.0) as u64);
            commands.cmd("ZRANGE").arg(&key).arg(0).arg(-1);
        }
        let replies = self.links[shard].run(&commands).await;
        let mut replies = Replies::new(&self.shared.status, shard, &commands, replies);
        let mut names = HashMap::new();
        for group in groups {
            // The first reply is about the expired names, which were taken out.
            replies.skip();
            let found = replies.next().map(flat);
            let text = |name| String::from_utf8(name).ok();
            names.insert(group, found.map(|found| found.into_iter().filter_map(text).collect()));
        }
        names
    }

    /// Adds the commands that send an event to the members of a group in other processes.
    pub(super) fn publish(
        &self,
        group: &GroupName,
        names: &[String],
        envelope: Option<&Envelope>,
        event: &Bytes,
        publication: &Rc<Progress>,
    ) {
        let shared = &self.shared;
        // The map is sorted, so that equal calls make equal commands.
        let mut queues: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in names {
            let non_local = name.find('!').map_or(name.as_str(), |at| &name[..=at]);
            if non_local == shared.driver.process {
                if let Some(envelope) = envelope {
                    self.deliver_own(group, name, envelope, event.len());
                }
            } else {
                queues.entry(non_local).or_default().push(name);
            }
        }
        let mut adds: Vec<Vec<QueueMessage>> = self.links.iter().map(|_| Vec::new()).collect();
        for (non_local, names) in queues {
            let capacity = ChannelName::new(names[0])
                .map_or(shared.config.layer.capacity, |first| shared.config.layer.capacity_of(&first));
            match shared.driver.codec.frame(event, Some(Recipients::Many(&names))) {
                Ok(message) => adds[shard_of(non_local, self.links.len())].push(QueueMessage {
                    key: channel_key(&shared.config.prefix, non_local),
                    message,
                    capacity,
                }),
                Err(error) => tracing::error!(%group, %error, "an event cannot be addressed"),
            }
        }
        for (shard, queues) in adds.into_iter().enumerate() {
            if !queues.is_empty() {
                publication.waits_for.set(publication.waits_for.get() + 1);
                let publication = Rc::clone(publication);
                let then = Then::Count { publication, queues: queues.len() as u64 };
                self.push(shard, self.add(&queues), then);
            }
        }
    }

    /// Delivers an event to a name of this process, if that has not been done yet.
    ///
    /// A member of this process was served before. A consumer that another program put into the group is
    /// served now.
    fn deliver_own(&self, group: &GroupName, name: &str, envelope: &Envelope, bytes: usize) {
        let Ok(channel) = ChannelName::new(name) else { return };
        let local = channel.local().unwrap_or_default();
        let is_served = match self.shared.driver.settings.names {
            Names::Connection => self.told.has(group, name),
            Names::Process => process_number(local).is_some(),
        };
        if !is_served && !self.inbox.direct(channel, envelope.clone(), bytes) {
            self.shared.counters().unpublished.one();
            tracing::debug!(%group, name, "an event to a consumer of this process is dropped: too many wait to be delivered");
        }
    }
}
