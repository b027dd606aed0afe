//! Who waits for a message of a channel that any process may read, and what becomes of a message nobody waits for any more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    ChannelName, Envelope,
    layers::{LayerError, server::status::ended},
};

/// A message that was taken out of Redis.
#[derive(Debug)]
pub(in crate::layers) struct Popped {
    pub(super) envelope: Envelope,
    pub(super) channel: ChannelName,
    /// As it stood in Redis, to be put back.
    pub(super) member: Bytes,
    pub(super) score: f64,
    pub(super) shard: usize,
}

/// Those who wait, in their order. The lock is held for an edit of one channel.
#[derive(Debug, Default)]
pub(super) struct Demand(Mutex<DemandTable>);

#[derive(Debug, Default)]
struct DemandTable {
    channels: HashMap<ChannelName, VecDeque<oneshot::Sender<Popped>>>,
    /// Nothing comes any more.
    ended: bool,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, DemandTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a message of `channel`; at most so many channels are waited for.
    pub(super) fn wait(
        &self,
        channel: &ChannelName,
        limit: usize,
    ) -> Result<oneshot::Receiver<Popped>, LayerError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.ended {
            return Err(ended());
        }
        let channels = &mut waiting.channels;
        if channels.len() >= limit && !channels.contains_key(channel) {
            return Err(LayerError::TooManyChannels { limit });
        }
        channels.entry(channel.clone()).or_default().push_back(sender);
        Ok(receiver)
    }

    /// Tells those who wait, and will, that nothing comes any more.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ended = true;
        let gone = std::mem::take(&mut waiting.channels);
        drop(waiting);
        // Which wakes them.
        drop(gone);
    }

    /// Forgets those who have gone.
    pub(super) fn tidy(&self, channel: &ChannelName) {
        let channels = &mut self.lock().channels;
        if let Some(those) = channels.get_mut(channel) {
            those.retain(|sender| !sender.is_closed());
            if those.is_empty() {
                channels.remove(channel);
            }
        }
    }

    /// Gives a message to who has waited longest, or back where nobody waits.
    pub(super) fn offer(&self, mut popped: Popped) -> Result<(), Popped> {
        loop {
            let Some(sender) = self.take(&popped.channel) else { return Err(popped) };
            // Outside the lock: what comes back, and what is dropped, is a user's value.
            match sender.send(popped) {
                Ok(()) => return Ok(()),
                Err(refused) => popped = refused,
            }
        }
    }

    fn take(&self, channel: &ChannelName) -> Option<oneshot::Sender<Popped>> {
        let channels = &mut self.lock().channels;
        let those = channels.get_mut(channel)?;
        let first = those.pop_front();
        if those.is_empty() {
            channels.remove(channel);
        }
        first
    }

    /// How many wait.
    pub(super) fn count(&self, channel: &ChannelName) -> usize {
        self.lock().channels.get(channel).map_or(0, VecDeque::len)
    }

    /// The channels that are waited for.
    pub(super) fn channels(&self) -> Vec<ChannelName> {
        self.lock().channels.keys().cloned().collect()
    }
}
