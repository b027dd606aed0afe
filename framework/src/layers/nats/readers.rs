//! The channels of any process that this process reads.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{ChannelName, layers::LayerError};

/// The channels that this process reads, and who waits for each.
///
/// A process reads a channel from its first `receive` on. It stops when no caller has waited for half of the
/// lifetime of a message. So a process also counts as a reader while its worker is busy, and messages that
/// were taken for callers which do not come back have not expired when they are handed on.
///
/// When its last worker stops, the process passes on the messages that still come, and stays subscribed until
/// the time is over. The client does not tell which messages are under way to a subscription that ends.
///
/// The lock is held for an edit of one channel, or a walk over all of them.
#[derive(Debug, Default)]
pub(super) struct Readers {
    table: Mutex<ReadersTable>,
    /// Is notified when a channel is new, or was given up.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct ReadersTable {
    channels: HashMap<ChannelName, Reading>,
    /// The channels that are new, or were given up, since the last look.
    dirty: Vec<ChannelName>,
}

#[derive(Debug)]
struct Reading {
    /// How many callers wait.
    waiting: usize,
    /// When a caller waited last.
    last: Instant,
    /// Whether the last worker that read the channel has stopped.
    left: bool,
}

/// Whether this process reads a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadState {
    /// It does not read the channel.
    Never,
    /// Its workers have stopped. Messages that still come are passed on.
    NoMore,
    /// It reads the channel.
    Yes,
}

impl Readers {
    fn table(&self) -> MutexGuard<'_, ReadersTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for a message of a channel, until the returned guard is dropped.
    ///
    /// At most `limit` channels are read.
    pub(super) fn read<'a>(
        &'a self,
        channel: &'a ChannelName,
        limit: usize,
    ) -> Result<WaitingReader<'a>, LayerError> {
        let mut table = self.table();
        if let Some(reading) = table.channels.get_mut(channel) {
            reading.waiting += 1;
            if std::mem::take(&mut reading.left) {
                table.dirty.push(channel.clone());
                self.changed.notify_one();
            }
        } else if table.channels.len() >= limit {
            return Err(LayerError::TooManyChannels { limit });
        } else {
            table.channels.insert(channel.clone(), Reading { waiting: 1, last: Instant::now(), left: false });
            table.dirty.push(channel.clone());
            self.changed.notify_one();
        }
        Ok(WaitingReader { readers: self, channel })
    }

    pub(super) fn reads(&self, channel: &ChannelName) -> ReadState {
        match self.table().channels.get(channel) {
            None => ReadState::Never,
            Some(reading) if reading.left => ReadState::NoMore,
            Some(_) => ReadState::Yes,
        }
    }

    pub(super) fn all(&self) -> Vec<ChannelName> {
        self.table().channels.keys().cloned().collect()
    }

    /// Takes the channels that are new, or were given up, since the last look.
    pub(super) fn take_dirty(&self) -> Vec<ChannelName> {
        std::mem::take(&mut self.table().dirty)
    }

    /// Gives up the channels for which no caller has waited for so long.
    pub(super) fn give_up(&self, idle: Duration) {
        let mut table = self.table();
        let is_idle = |reading: &Reading| reading.waiting == 0 && reading.last.elapsed() >= idle;
        let gone: Vec<_> =
            table.channels.extract_if(|_, reading| is_idle(reading)).map(|(name, _)| name).collect();
        table.dirty.extend(gone);
    }

    /// Notes that the last worker of a channel has stopped, if no caller waits.
    pub(super) fn leave(&self, channel: &ChannelName) {
        let mut table = self.table();
        if let Some(reading) = table.channels.get_mut(channel)
            && reading.waiting == 0
        {
            reading.left = true;
            table.dirty.push(channel.clone());
            self.changed.notify_one();
        }
    }

    /// Gives up all channels, and returns them.
    pub(super) fn close(&self) -> Vec<ChannelName> {
        let mut table = self.table();
        table.dirty.clear();
        std::mem::take(&mut table.channels).into_keys().collect()
    }
}

/// A `receive` that waits. Dropping this ends the wait.
#[derive(Debug)]
pub(super) struct WaitingReader<'a> {
    readers: &'a Readers,
    channel: &'a ChannelName,
}

impl Drop for WaitingReader<'_> {
    fn drop(&mut self) {
        if let Some(reading) = self.readers.table().channels.get_mut(self.channel) {
            reading.waiting = reading.waiting.saturating_sub(1);
            reading.last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_read_until_nobody_has_waited_for_a_while() {
        let (readers, jobs) = (Readers::default(), ChannelName::new("jobs").unwrap());
        let first = readers.read(&jobs, 1).unwrap();
        let second = readers.read(&jobs, 1).unwrap();
        assert_eq!(readers.take_dirty(), std::slice::from_ref(&jobs));
        let works = ChannelName::new("works").unwrap();
        assert_eq!(readers.read(&works, 1).unwrap_err(), LayerError::TooManyChannels { limit: 1 });
        drop(first);
        readers.give_up(Duration::ZERO);
        assert_eq!(readers.reads(&jobs), ReadState::Yes, "a caller waits");
        drop(second);
        readers.give_up(Duration::from_secs(60));
        assert_eq!(
            (readers.reads(&jobs), readers.take_dirty().len()),
            (ReadState::Yes, 0),
            "the reader may come back"
        );
        readers.give_up(Duration::ZERO);
        assert_eq!(readers.reads(&jobs), ReadState::Never);
        assert_eq!(readers.take_dirty(), std::slice::from_ref(&jobs));
        let (first, second) = (readers.read(&jobs, 1).unwrap(), readers.read(&jobs, 1).unwrap());
        assert_eq!(readers.take_dirty(), std::slice::from_ref(&jobs));
        drop(first);
        readers.leave(&jobs);
        assert_eq!(readers.reads(&jobs), ReadState::Yes, "a caller waits");
        drop(second);
        readers.leave(&jobs);
        assert_eq!(readers.reads(&jobs), ReadState::NoMore);
        assert_eq!(readers.take_dirty(), std::slice::from_ref(&jobs));
        let third = readers.read(&jobs, 1).unwrap();
        assert_eq!((readers.reads(&jobs), readers.take_dirty()), (ReadState::Yes, vec![jobs.clone()]));
        drop(third);
        readers.leave(&jobs);
        readers.give_up(Duration::ZERO);
        assert_eq!(readers.reads(&jobs), ReadState::Never);
    }
}
