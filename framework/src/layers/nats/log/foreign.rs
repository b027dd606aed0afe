//! Tells in the streams of events that are in no log.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use tokio::sync::mpsc::Receiver;

use super::{link::MARKS, tasks::ForeignEvent};
use crate::{
    GroupName,
    layers::nats::{link::NatsLink, shared::NatsSource},
};

impl NatsLink {
    /// Takes in an event that is in no log. It is told in the stream first, so that every process knows of it.
    pub(in crate::layers::nats) fn foreign(&self, event: ForeignEvent) {
        let group = event.group.clone();
        if self.foreign.try_send(event).is_err() {
            self.miss_group(&group);
        }
    }

    /// Tells in the streams of events that are in no log, and hands them on.
    pub(in crate::layers::nats) async fn mark_foreign(self: &Rc<Self>, events: &mut Receiver<ForeignEvent>) {
        let mut batch = Vec::new();
        loop {
            events.recv_many(&mut batch, 64).await;
            let groups: HashSet<_> = batch.iter().map(|event| (event.group.clone(), event.policy)).collect();
            let marks = groups.into_iter().map(async |(group, policy)| {
                // Without a mark, members that are here get it all the same.
                let mark = self.store_foreign_mark(policy, &group).await?;
                Some((group, mark))
            });
            let marks: HashMap<_, _> = join_all(marks).await.into_iter().flatten().collect();
            for ForeignEvent { group, payload, .. } in batch.drain(..) {
                let mark = marks.get(&group).copied();
                if !self.inbox.offer(payload, NatsSource::Foreign { group: group.clone(), mark }) {
                    self.miss_group(&group);
                }
            }
        }
    }

    /// Tells in the streams of events that only members of this process have, and then tells the other processes.
    ///
    /// Who was away meanwhile, and comes back to any process, is told that it may miss one.
    pub(super) async fn tell_unlogged(self: &Rc<Self>) {
        let unlogged = &self.shared.driver.unlogged;
        let groups = unlogged.all();
        stream::iter(groups)
            .for_each_concurrent(MARKS, async |(group, count)| {
                let told = match self.shared.policy(&group) {
                    Some(policy) => self.tell_unlogged_of(policy, &group).await.is_some(),
                    None => true,
                };
                // Otherwise it is told at the next time.
                if told {
                    unlogged.forget(&group, count);
                }
            })
            .await;
    }

    async fn tell_unlogged_of(self: &Rc<Self>, policy: usize, group: &GroupName) -> Option<()> {
        self.store_foreign_mark(policy, group).await?;
        self.tell_members_elsewhere(policy, group).await.ok()
    }

    /// Writes a mark of an event that is in no log. Returns the mark.
    pub(super) async fn store_foreign_mark(self: &Rc<Self>, policy: usize, group: &GroupName) -> Option<f64> {
        let subject = self.shared.driver.subjects.foreign(policy, group);
        let stream = self.shared.driver.streams.of(policy)?;
        let mark = stream.api(self).store(subject, HeaderMap::new(), Bytes::new()).await.ok()?;
        Some(mark as f64)
    }
}
