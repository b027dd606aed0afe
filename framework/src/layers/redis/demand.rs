//! The callers that wait for a message of a channel that any process may read.
//!
//! A message for which no caller waits any more goes back to Redis.

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
    /// The message as it stood in Redis, in case it must be put back.
    pub(super) member: Bytes,
    pub(super) score: f64,
    pub(super) shard: usize,
}

/// The callers that wait, in their order. The lock is held only for an edit of one channel.
#[derive(Debug, Default)]
pub(super) struct Demand(Mutex<DemandTable>);

#[derive(Debug, Default)]
struct DemandTable {
    channels: HashMap<ChannelName, VecDeque<oneshot::Sender<Popped>>>,
    /// Whether the layer has ended, so that no message comes any more.
    ended: bool,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, DemandTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a message of `channel`. At most `limit` channels can be waited for.
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

    /// Tells all callers that wait, and all later ones, that no message comes any more.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ended = true;
        let gone = std::mem::take(&mut waiting.channels);
        drop(waiting);
        // This wakes the callers, and so happens outside the lock.
        drop(gone);
    }

    /// Forgets the callers of a channel that have gone.
    pub(super) fn tidy(&self, channel: &ChannelName) {
        let channels = &mut self.lock().channels;
        if let Some(those) = channels.get_mut(channel) {
            those.retain(|sender| !sender.is_closed());
            if those.is_empty() {
                channels.remove(channel);
            }
        }
    }

    /// Gives a message to the caller that has waited longest. Returns the message if no caller waits.
    pub(super) fn offer(&self, mut popped: Popped) -> Result<(), Popped> {
        loop {
            let Some(sender) = self.take(&popped.channel) else { return Err(popped) };
            // This is done outside the lock, because it may drop a user's value.
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

    /// How many callers wait for a channel.
    pub(super) fn count(&self, channel: &ChannelName) -> usize {
        self.lock().channels.get(channel).map_or(0, VecDeque::len)
    }

    /// The channels for which callers wait.
    pub(super) fn channels(&self) -> Vec<ChannelName> {
        self.lock().channels.keys().cloned().collect()
    }
}
