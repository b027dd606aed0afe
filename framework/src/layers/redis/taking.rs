//! Which messages are under way to those who wait for them.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use tokio::sync::Notify;

use super::demand::Demand;
use crate::ChannelName;

/// Which messages of a shard are under way to those who wait for them.
///
/// No more are taken than there are who wait: one that had to be put back would come after its successors.
#[derive(Default)]
pub(super) struct Taking {
    /// What the blocked reader waits for.
    listening: RefCell<HashSet<ChannelName>>,
    /// How many messages of each channel may be coming.
    claims: RefCell<HashMap<ChannelName, usize>>,
    /// Told when there are fewer.
    released: Notify,
}

impl Taking {
    /// Claims as many messages as there are who wait, and none claimed for; at most so many.
    pub(super) fn claim(&self, demand: &Demand, channel: &ChannelName, most: usize) -> usize {
        let mut claims = self.claims.borrow_mut();
        let claimed = claims.get(channel).copied().unwrap_or_default();
        let count = demand.count(channel).saturating_sub(claimed).min(most);
        if count > 0 {
            *claims.entry(channel.clone()).or_default() += count;
        }
        count
    }

    /// They have come, or will not.
    pub(super) fn release(&self, channel: &ChannelName, count: usize) {
        let mut claims = self.claims.borrow_mut();
        if let Some(claimed) = claims.get_mut(channel) {
            *claimed = claimed.saturating_sub(count);
            if *claimed == 0 {
                claims.remove(channel);
            }
        }
        self.released.notify_waiters();
    }

    /// Whether messages may be coming that nobody waits for any more.
    pub(super) fn is_stale(&self, demand: &Demand) -> bool {
        self.claims.borrow().keys().any(|channel| demand.count(channel) == 0)
    }

    /// Waits until no such message can come.
    pub(super) async fn settled(&self, demand: &Demand) {
        while self.is_stale(demand) {
            self.released.notified().await;
        }
    }

    /// The channels for which a reader is to wait: it claims one message of each.
    pub(super) fn listen(&self, demand: &Demand) -> Vec<ChannelName> {
        let mut channels = demand.channels();
        channels.retain(|channel| self.claim(demand, channel, 1) == 1);
        self.listening.borrow_mut().extend(channels.iter().cloned());
        channels
    }

    /// The reader waits no more.
    pub(super) fn heard(&self, channels: &[ChannelName]) {
        self.listening.borrow_mut().clear();
        for channel in channels {
            self.release(channel, 1);
        }
    }

    /// Whether the reader must be woken for a channel.
    pub(super) fn misses(&self, demand: &Demand, channel: &ChannelName) -> bool {
        let claimed = self.claims.borrow().get(channel).copied().unwrap_or_default();
        demand.count(channel) > claimed && !self.listening.borrow().contains(channel)
    }
}
