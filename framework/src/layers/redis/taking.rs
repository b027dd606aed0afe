//! The messages that are under way from Redis to callers that wait for them.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use tokio::sync::Notify;

use super::demand::Demand;
use crate::ChannelName;

/// Counts the messages of a shard that are under way to callers that wait for them.
///
/// No more messages are taken than callers wait. A message that must be put back would come after later ones.
#[derive(Default)]
pub(super) struct Taking {
    /// The channels for which the blocked reader waits.
    listening: RefCell<HashSet<ChannelName>>,
    /// How many messages of each channel may be under way.
    claims: RefCell<HashMap<ChannelName, usize>>,
    /// Is notified when fewer messages may be under way.
    released: Notify,
}

impl Taking {
    /// Claims a message for each caller that waits and has none claimed, at most `most`. Returns how many.
    pub(super) fn claim(&self, demand: &Demand, channel: &ChannelName, most: usize) -> usize {
        let mut claims = self.claims.borrow_mut();
        let claimed = claims.get(channel).copied().unwrap_or_default();
        let count = demand.count(channel).saturating_sub(claimed).min(most);
        if count > 0 {
            *claims.entry(channel.clone()).or_default() += count;
        }
        count
    }

    /// Gives up claims, because the messages have come, or will not come.
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

    /// Whether messages may be under way for which no caller waits any more.
    pub(super) fn is_stale(&self, demand: &Demand) -> bool {
        self.claims.borrow().keys().any(|channel| demand.count(channel) == 0)
    }

    /// Waits until no such message can come any more.
    pub(super) async fn settled(&self, demand: &Demand) {
        while self.is_stale(demand) {
            self.released.notified().await;
        }
    }

    /// The channels for which a reader must wait. One message of each is claimed.
    pub(super) fn listen(&self, demand: &Demand) -> Vec<ChannelName> {
        let mut channels = demand.channels();
        channels.retain(|channel| self.claim(demand, channel, 1) == 1);
        self.listening.borrow_mut().extend(channels.iter().cloned());
        channels
    }

    /// Notes that the reader does not wait any more.
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
