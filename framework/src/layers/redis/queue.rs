//! Puts messages into queues, up to their capacities.

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    batch::{QueueMessage, Then, refused},
    link::{flat, unix_time},
    names::{channel_key, shard_of},
    writer::CoreIo,
};
use crate::{ChannelName, event::wire::addressed::Recipients, layers::LayerError};

/// The script that adds a message to each queue that has room.
///
/// Its keys are the queues. Its arguments are the score of the messages, the time before which messages have
/// expired, their lifetime; then the messages; then the capacities. It returns how many queues were full, how
/// many failed, and the error of the last one that failed.
///
/// A key with another type fails alone. If all fail for another reason, the script itself fails. If no message has expired, the script writes nothing before it adds
/// the message. This matters, because Redis does not refuse a script for lack of memory once the script has
/// written.
const ADD: &str = r"
local n, full, failed, why = #KEYS, 0, 0, ''
for i = 1, n do
  local done = redis.pcall('ZCOUNT', KEYS[i], 0, ARGV[2])
  if type(done) == 'number' and done > 0 then done = redis.pcall('ZREMRANGEBYSCORE', KEYS[i], 0, ARGV[2]) end
  if type(done) == 'number' then
    if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[3 + n + i]) then
      full = full + 1
    else
      done = redis.pcall('ZADD', KEYS[i], ARGV[1], ARGV[3 + i])
      if type(done) == 'number' then redis.call('EXPIRE', KEYS[i], ARGV[3]) end
    end
  end
  if type(done) == 'table' then
    failed, why = failed + 1, KEYS[i] .. ': ' .. done.err
    if failed == n and not string.find(done.err, 'WRONGTYPE', 1, true) then return redis.error_reply(done.err) end
  end
end
return {full, failed, why}";

/// The result of the script.
pub(super) struct Added {
    /// How many queues were full.
    pub(super) full: u64,
}

impl CoreIo {
    /// Adds the command that sends an event to one channel.
    pub(super) fn send(
        &self,
        channel: ChannelName,
        event: &Bytes,
        reply: oneshot::Sender<Result<(), LayerError>>,
        room: OwnedSemaphorePermit,
        shard: usize,
    ) {
        let shared = &self.shared;
        let to = channel.local().map(|_| Recipients::One(channel.as_str()));
        match shared.driver.codec.frame(event, to) {
            Err(error) => drop(reply.send(Err(LayerError::Unwritable(error)))),
            Ok(message) => {
                let key = channel_key(&shared.config.prefix, channel.non_local());
                let capacity = shared.config.layer.capacity_of(&channel);
                let command = self.add(&[QueueMessage { key, message, capacity, is_ours: false }]);
                self.push(shard, command, Then::Sent { channel, reply, _room: room });
            }
        }
    }

    /// The shard for a message to a channel.
    pub(super) fn channel_shard(&self, channel: &ChannelName) -> usize {
        let count = self.links.len();
        if channel.local().is_some() {
            return shard_of(channel.non_local(), count);
        }
        // The shards take turns, and those that are away are skipped.
        let first = self.next_shard.get();
        let mut turns = (0..count).map(|by| (first + by) % count);
        let shard = turns.find(|&at| self.shared.status.is_up(at)).unwrap_or(first);
        self.next_shard.set((shard + 1) % count);
        shard
    }

    /// The command that runs the script.
    pub(super) fn add(&self, queues: &[QueueMessage]) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(ADD).arg(queues.len());
        for queue in queues {
            command.arg(&queue.key);
        }
        self.add_times(&mut command);
        for queue in queues {
            command.arg(&queue.message);
        }
        for queue in queues {
            command.arg(queue.capacity);
        }
        command
    }

    /// Adds the score of the next messages, the time before which messages have expired, and their lifetime.
    pub(super) fn add_times(&self, command: &mut Cmd) {
        let expiry = self.shared.config.layer.expiry.as_secs();
        let now = unix_time();
        let score = next_score(self.last_score.get(), now);
        self.last_score.set(score);
        command.arg(score.to_string()).arg((now as u64).saturating_sub(expiry)).arg(expiry.max(1));
    }

    /// Reads the reply of the script.
    pub(super) fn added(&self, shard: usize, reply: Value) -> Result<Added, LayerError> {
        let fields = flat(reply);
        let number = |at: usize| {
            let text = fields.get(at).and_then(|field| std::str::from_utf8(field).ok());
            text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
        };
        if number(1) > 0 {
            let why = fields.get(2).map(|why| String::from_utf8_lossy(why).into_owned());
            return Err(refused(&self.shared.status, shard, &why.unwrap_or_default()));
        }
        Ok(Added { full: number(0) })
    }
}

/// How far scores may be ahead of the clock, in seconds.
const AHEAD: f64 = 1.0;

/// The score of the next message: the time, but later than the last score.
///
/// With equal scores, the random prefix would decide the order. If the clock was set back by more than
/// [`AHEAD`], the score follows the clock. Otherwise the messages would have a time in the future: they would
/// not expire, and would stand behind those of other processes.
fn next_score(last: f64, now: f64) -> f64 {
    if now > last || last > now + AHEAD { now } else { last + 1e-6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_score_is_later_than_the_one_before() {
        let (now, mut last) = (1_700_000_000.0, 0.0);
        for _ in 0..10_000 {
            let score = next_score(last, now);
            assert!(score > last && score < now + AHEAD, "{score} after {last}");
            last = score;
        }
    }

    /// A clock that was an hour ahead is set right. Messages that are sent after that have the right time.
    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        let now = 1_700_000_000.0;
        let wrong = next_score(0.0, now + 3_600.0);
        let right = next_score(wrong, now);
        assert!((now..now + AHEAD).contains(&right), "{right}");
        // If the clock is set back a little, the order of two messages is kept.
        assert!(next_score(right, now - 0.5) > right);
    }
}
