//! Messages into queues, up to their capacities.

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    batch::{CommandBatch, Then, refused},
    link::{flat, unix_time},
    names::{channel_key, shard_of},
    writer::CoreIo,
};
use crate::{ChannelName, event::wire::addressed::Recipients, layers::LayerError};

/// Adds a message to each queue that has room. Keys: the queues. Arguments: now, up to when messages have expired, their
/// lifetime; the messages; the capacities. It says how many were full, how many failed, and how the last of these did.
///
/// A queue that is no queue fails alone. Nothing is written before the message where nothing has expired: a script that has
/// written is not refused for want of memory.
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
  if type(done) == 'table' then failed, why = failed + 1, KEYS[i] .. ': ' .. done.err end
end
return {full, failed, why}";

pub(super) struct QueueMessage {
    pub(super) key: String,
    pub(super) message: Vec<u8>,
    pub(super) capacity: usize,
}

pub(super) struct Added {
    pub(super) full: u64,
}

impl CoreIo {
    pub(super) fn send(
        &self,
        channel: ChannelName,
        event: &Bytes,
        reply: oneshot::Sender<Result<(), LayerError>>,
        room: OwnedSemaphorePermit,
        batches: &mut [CommandBatch],
    ) {
        let shared = &self.shared;
        let (to, shard) = match channel.local() {
            Some(_) => {
                (Some(Recipients::One(channel.as_str())), shard_of(channel.non_local(), batches.len()))
            }
            None => {
                // In turns, past those that are away.
                let count = batches.len();
                let first = self.next_shard.get();
                let there = (0..count).map(|by| (first + by) % count).find(|&at| shared.status.is_up(at));
                let shard = there.unwrap_or(first);
                self.next_shard.set((shard + 1) % count);
                (None, shard)
            }
        };
        match shared.driver.codec.frame(event, to) {
            Err(error) => drop(reply.send(Err(LayerError::Unwritable(error)))),
            Ok(message) => {
                let key = channel_key(&shared.config.prefix, channel.non_local());
                let capacity = shared.config.layer.capacity_of(&channel);
                let command = self.add(&[QueueMessage { key, message, capacity }]);
                batches[shard].push(command, Then::Sent { channel, reply, _room: room });
            }
        }
    }

    pub(super) fn add(&self, queues: &[QueueMessage]) -> Cmd {
        let expiry = self.shared.config.layer.expiry.as_secs();
        let now = unix_time();
        let score = next_score(self.last_score.get(), now);
        self.last_score.set(score);
        let mut command = redis::cmd("EVAL");
        command.arg(ADD).arg(queues.len());
        for queue in queues {
            command.arg(&queue.key);
        }
        command.arg(score.to_string()).arg((now as u64).saturating_sub(expiry)).arg(expiry.max(1));
        for queue in queues {
            command.arg(&queue.message);
        }
        for queue in queues {
            command.arg(queue.capacity);
        }
        command
    }

    /// What the script says.
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

/// A time after that of the message before: of equal ones the random prefix would decide.
///
/// Where the clock was set back by more, it is the clock's all the same: messages that seem to come would not expire, and
/// stand behind those of other processes.
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

    /// A clock that was an hour ahead is set right: what is sent from then on is of that time.
    #[test]
    fn a_clock_that_is_set_back_is_followed() {
        let now = 1_700_000_000.0;
        let wrong = next_score(0.0, now + 3_600.0);
        let right = next_score(wrong, now);
        assert!((now..now + AHEAD).contains(&right), "{right}");
        // A little is only the order of two messages: that is kept.
        assert!(next_score(right, now - 0.5) > right);
    }
}
