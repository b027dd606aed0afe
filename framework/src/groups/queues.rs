//! Channels that a program reads by `receive`: bounded queues whose messages expire.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{config::LayerConfig, error::LayerError};
use crate::{ChannelName, Envelope, metrics::Counters, time::after};

/// All queues of a layer in this process.
///
/// The lock is held for one operation on one queue. Expired messages are dropped after the lock is released.
#[derive(Debug)]
pub(crate) struct Queues {
    table: Mutex<QueueTable>,
    expiry: Duration,
    limit: usize,
}

#[derive(Debug, Default)]
struct QueueTable {
    queues: HashMap<ChannelName, MessageQueue>,
    /// When a message of a channel expires. All messages live equally long, so the entries are in order.
    due: VecDeque<(Instant, ChannelName)>,
    /// When `due` reaches this length, the entries of messages that were received are removed.
    tidy_at: usize,
}

#[derive(Debug, Default)]
struct MessageQueue {
    messages: VecDeque<(Instant, Envelope)>,
    /// Wakes the calls of `receive` that wait. May outlive the queue, which is removed when nothing needs it.
    readers: Arc<Notify>,
    /// How many calls of `receive` wait.
    waiting: usize,
}

impl Queues {
    pub(crate) fn new(config: &LayerConfig) -> Self {
        Self { table: Mutex::default(), expiry: config.expiry, limit: config.channels }
    }

    fn lock(&self) -> MutexGuard<'_, QueueTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message (rule 31: the sender's configuration decides capacity and expiry).
    pub(crate) fn push(
        &self,
        channel: &ChannelName,
        envelope: Envelope,
        config: &LayerConfig,
        counters: &Counters,
    ) -> Result<(), LayerError> {
        let now = Instant::now();
        let mut table = self.lock();
        let expired = table.sweep(now);
        let pushed =
            table.push(channel, envelope, after(now, self.expiry), config.capacity_of(channel), self.limit);
        drop(table);
        counters.expired.add(expired.len() as u64);
        match pushed {
            Ok(readers) => {
                readers.notify_one();
                Ok(())
            }
            Err((error, envelope)) => {
                // The envelope holds a user's value, which must not be dropped under the lock.
                drop(envelope);
                counters.queue_full.one();
                Err(error)
            }
        }
    }

    /// Waits for the next message that has not expired. If the future is dropped, no message is lost.
    pub(crate) async fn receive(
        &self,
        channel: &ChannelName,
        counters: &Counters,
    ) -> Result<Envelope, LayerError> {
        let readers = {
            let mut table = self.lock();
            if table.queues.len() >= self.limit && !table.queues.contains_key(channel) {
                return Err(LayerError::TooManyChannels { limit: self.limit });
            }
            let queue = table.queues.entry(channel.clone()).or_default();
            queue.waiting += 1;
            Arc::clone(&queue.readers)
        };
        let _waiting = WaitingReceive { queues: self, channel };
        loop {
            // Registered before the look below, so that a message that comes after the look wakes this call. Without
            // that, `Notify` would keep only one wake for all calls that come later, however many messages came.
            let mut notified = pin!(readers.notified());
            notified.as_mut().enable();
            let (expired, message) = {
                let mut table = self.lock();
                (table.sweep(Instant::now()), table.pop(channel))
            };
            counters.expired.add(expired.len() as u64);
            drop(expired);
            if let Some(envelope) = message {
                return Ok(envelope);
            }
            notified.await;
        }
    }

    /// Drops every message.
    pub(crate) fn clear(&self) {
        let dropped = {
            let mut table = self.lock();
            table.due.clear();
            let messages: Vec<_> =
                table.queues.values_mut().map(|queue| std::mem::take(&mut queue.messages)).collect();
            table.queues.retain(|_, queue| queue.waiting > 0);
            messages
        };
        drop(dropped);
    }

    /// How many queues hold a message or have a `receive` that waits.
    pub(crate) fn len(&self, counters: &Counters) -> usize {
        let mut table = self.lock();
        let expired = table.sweep(Instant::now());
        let len = table.queues.len();
        drop(table);
        counters.expired.add(expired.len() as u64);
        drop(expired);
        len
    }
}

impl QueueTable {
    fn push(
        &mut self,
        channel: &ChannelName,
        envelope: Envelope,
        expires: Instant,
        capacity: usize,
        limit: usize,
    ) -> Result<Arc<Notify>, (LayerError, Envelope)> {
        if self.queues.len() >= limit && !self.queues.contains_key(channel) {
            return Err((LayerError::TooManyChannels { limit }, envelope));
        }
        let queue = self.queues.entry(channel.clone()).or_default();
        if queue.messages.len() >= capacity {
            return Err((LayerError::ChannelFull(channel.clone()), envelope));
        }
        queue.messages.push_back((expires, envelope));
        let readers = Arc::clone(&queue.readers);
        self.due.push_back((expires, channel.clone()));
        if self.due.len() > self.tidy_at {
            self.tidy();
        }
        Ok(readers)
    }

    /// Removes the entries of messages that were received.
    ///
    /// These expire earlier than the first message that is still in their queue.
    fn tidy(&mut self) {
        let queues = &self.queues;
        self.due.retain(|(expires, channel)| {
            let first = queues.get(channel).and_then(|queue| queue.messages.front());
            first.is_some_and(|(first, _)| first <= expires)
        });
        // The next tidying comes after as many messages as are kept, and 1,000 more. Each pays for two entries of it.
        self.tidy_at = self.due.len() * 2 + 1_000;
    }

    fn pop(&mut self, channel: &ChannelName) -> Option<Envelope> {
        let queue = self.queues.get_mut(channel)?;
        let (_, envelope) = queue.messages.pop_front()?;
        if queue.messages.is_empty() && queue.waiting == 0 {
            self.queues.remove(channel);
        }
        Some(envelope)
    }

    /// Takes out the expired messages of all channels. Each message that was sent costs one step of this, once.
    fn sweep(&mut self, now: Instant) -> Vec<Envelope> {
        let mut expired = Vec::new();
        while let Some((expires, _)) = self.due.front()
            && *expires <= now
            && let Some((_, channel)) = self.due.pop_front()
        {
            let Some(queue) = self.queues.get_mut(&channel) else { continue };
            while queue.messages.front().is_some_and(|(expires, _)| *expires <= now) {
                expired.extend(queue.messages.pop_front().map(|(_, envelope)| envelope));
            }
            if queue.messages.is_empty() && queue.waiting == 0 {
                self.queues.remove(&channel);
            }
        }
        expired
    }
}

/// A `receive` that waits, counted until it returns or is dropped.
struct WaitingReceive<'a> {
    queues: &'a Queues,
    channel: &'a ChannelName,
}

impl Drop for WaitingReceive<'_> {
    fn drop(&mut self) {
        let mut table = self.queues.lock();
        if let Some(queue) = table.queues.get_mut(self.channel) {
            queue.waiting -= 1;
            if queue.messages.is_empty() && queue.waiting == 0 {
                table.queues.remove(self.channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::FutureExt;

    use super::*;
    use crate::Event;

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name).unwrap()
    }

    fn setup() -> (LayerConfig, Arc<Queues>, Arc<Counters>) {
        let config = LayerConfig::new();
        (config.clone(), Arc::new(Queues::new(&config)), Arc::default())
    }

    #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
    struct Plain;

    /// An event that does something when it is dropped.
    #[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
    struct Bomb;

    thread_local! {
        static FUSES: RefCell<VecDeque<Box<dyn FnOnce()>>> = RefCell::default();
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            let fuse = FUSES.with_borrow_mut(VecDeque::pop_front);
            if let Some(fuse) = fuse {
                fuse();
            }
        }
    }

    /// Both readers look at the empty queue, then two messages come, then both wait: as can happen on two threads.
    #[actix_web::test]
    async fn no_reader_waits_while_there_is_a_message() {
        tokio::time::pause();
        let (config, queues, counters) = setup();
        let jobs = channel("jobs");
        let push = |name: &str, envelope| queues.push(&channel(name), envelope, &config, &counters).unwrap();
        let later = config.expiry / 2;

        // A reader drops expired messages between its look and its wait. The other thread's part runs in that drop.
        push("first", Envelope::new(Bomb));
        tokio::time::advance(later).await;
        push("second", Envelope::new(Bomb));
        tokio::time::advance(later).await;
        FUSES.with_borrow_mut(|fuses| {
            let (inner_queues, inner_counters, inner_jobs) =
                (Arc::clone(&queues), Arc::clone(&counters), jobs.clone());
            fuses.push_back(Box::new(move || {
                assert!(
                    tokio::time::advance(later).now_or_never().is_none(),
                    "the clock has moved, and the call has yielded"
                );
                let read = inner_queues.receive(&inner_jobs, &inner_counters).now_or_never();
                assert!(read.is_some(), "the second reader gets one of the two messages");
            }));
            let (inner_queues, inner_counters, inner_jobs) =
                (Arc::clone(&queues), Arc::clone(&counters), jobs.clone());
            let inner_config = config.clone();
            fuses.push_back(Box::new(move || {
                for _ in 0..2 {
                    inner_queues
                        .push(&inner_jobs, Envelope::new(Plain), &inner_config, &inner_counters)
                        .unwrap();
                }
            }));
        });
        let read = queues.receive(&jobs, &counters).now_or_never();
        assert!(FUSES.with_borrow(VecDeque::is_empty), "both ran");
        assert!(read.is_some(), "the first reader gets the other message");
    }

    #[actix_web::test]
    async fn messages_that_were_received_leave_nothing_behind() {
        let (config, queues, counters) = setup();
        queues.push(&channel("unread"), Envelope::new(Plain), &config, &counters).unwrap();
        for _ in 0..10_000 {
            queues.push(&channel("jobs"), Envelope::new(Plain), &config, &counters).unwrap();
            queues.receive(&channel("jobs"), &counters).await.unwrap();
        }
        let remembered = queues.lock().due.len();
        assert!(remembered <= 2_000, "{remembered} entries for one message");
    }
}
