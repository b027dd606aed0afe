//! Sends events to groups.
//!
//! The members of a group are looked up. Then one message is written for each process that has members.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use bytes::Bytes;

use super::{
    batch::{Progress, QueueMessage, Replies, Then},
    config::Names,
    link::{flat, unix_time},
    log::entry::marked_transient,
    names::{channel_key, group_key, is_greenroom, process_number, shard_of, stands_for_process},
    state::CoreOperation,
    writer::{CoreIo, LaneOperation},
};
use crate::{
    ChannelName, Envelope, GroupName, event::wire::addressed::Recipients, layers::LayerError, shown::Shown,
};

/// An event on its way to a group.
pub(super) struct OutgoingEvent<'a> {
    pub(super) group: &'a GroupName,
    pub(super) except: &'a [ChannelName],
    /// For the consumers of this process that another program has put into the group.
    pub(super) envelope: Option<&'a Envelope>,
    pub(super) bytes: &'a Bytes,
    /// The group's log has it.
    pub(super) is_kept: bool,
}

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
            let group = match operation {
                LaneOperation::Core(CoreOperation::Publish { publication, .. }) => &publication.group,
                LaneOperation::Core(CoreOperation::Append(appending, _))
                    if !self.known.has(&appending.group) =>
                {
                    &appending.group
                }
                _ => continue,
            };
            if seen.insert(group) {
                groups.push(group.clone());
            }
        }
        let oldest = self.oldest_name();
        let mut commands = redis::pipe();
        for group in &groups {
            let key = group_key(&self.shared.config.prefix, group);
            commands.cmd("ZREMRANGEBYSCORE").arg(&key).arg(0).arg(oldest);
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

    /// The time up to which names in groups have expired.
    pub(super) fn oldest_name(&self) -> u64 {
        (unix_time() - self.shared.config.layer.group_expiry.as_secs_f64()).max(0.0) as u64
    }

    /// Adds the commands that send an event to the members of a group in other processes.
    ///
    /// If the group has a log, `is_transient` tells Greenroom's processes that the event is not kept.
    pub(super) fn publish(
        &self,
        event: &OutgoingEvent<'_>,
        names: &[String],
        is_transient: bool,
        publication: &Rc<Progress>,
    ) {
        for (shard, mut queues) in self.messages(event, names).into_iter().enumerate() {
            if queues.is_empty() {
                continue;
            }
            for queue in queues.iter_mut().filter(|queue| is_transient && queue.is_ours) {
                queue.message = marked_transient(&queue.message);
            }
            publication.waits_for.set(publication.waits_for.get() + 1);
            let publication = Rc::clone(publication);
            let then = Then::Count { publication, queues: queues.len() as u64 };
            self.push(shard, self.add(&queues), then);
        }
    }

    /// The messages to the members of a group in other processes but `except`, for each shard.
    ///
    /// A name in `except` is left out here. The one name of a process stands for all its members, so the process is
    /// told which of them to leave out. Of an event that is kept, a process is told all: each of these clients may come
    /// back to it.
    pub(super) fn messages(&self, event: &OutgoingEvent<'_>, names: &[String]) -> Vec<Vec<QueueMessage>> {
        let shared = &self.shared;
        let OutgoingEvent { group, except, envelope, bytes, is_kept } = event;
        // The map is sorted, so that equal calls make equal commands.
        let mut queues: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let left_out: HashSet<&str> = except.iter().map(ChannelName::as_str).collect();
        for name in names.iter().filter(|name| !left_out.contains(name.as_str())) {
            let non_local = name.find('!').map_or(name.as_str(), |at| &name[..=at]);
            if non_local == shared.driver.process {
                if let Some(envelope) = envelope {
                    self.deliver_own(group, name, envelope, bytes.len());
                }
            } else {
                queues.entry(non_local).or_default().push(name);
            }
        }
        let mut messages: Vec<Vec<QueueMessage>> = self.links.iter().map(|_| Vec::new()).collect();
        for (non_local, names) in queues {
            let capacity = ChannelName::new(names[0])
                .map_or(shared.config.layer.capacity, |first| shared.config.layer.capacity_of(&first));
            let keeps = *is_kept && is_greenroom(non_local);
            let stands = || names.iter().any(|name| stands_for_process(name));
            let told = except.iter().filter(|channel| keeps || channel.non_local() == non_local && stands());
            let framed = shared.driver.codec.leave_out((*bytes).clone(), told);
            match framed.and_then(|event| shared.driver.codec.frame(&event, Some(Recipients::Many(&names)))) {
                Ok(message) => messages[shard_of(non_local, self.links.len())].push(QueueMessage {
                    key: channel_key(&shared.config.prefix, non_local),
                    message,
                    capacity,
                    is_ours: is_greenroom(non_local),
                }),
                Err(error) => tracing::error!(%group, error = %Shown(&error), "an event cannot be addressed"),
            }
        }
        messages
    }

    /// Delivers an event to a name of this process, if that has not been done yet.
    ///
    /// A member of this process was served before. A consumer that another program put into the group is
    /// served now.
    pub(super) fn deliver_own(&self, group: &GroupName, name: &str, envelope: &Envelope, bytes: usize) {
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
