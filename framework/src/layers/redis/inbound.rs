//! What comes from Redis, and by what.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::layers::server::inbound;
pub(super) use crate::layers::server::inbound::{Deliver, log_undecodable, start};

/// The way in, bounded by bytes.
pub(super) type Inbox = inbound::Inbox<Source, Over>;

/// What nothing comes by any more.
#[derive(Debug)]
pub(super) enum Over {
    /// The connection to this shard.
    Shard(usize),
    /// Topics that were left, and which subscriptions to them that were.
    Topics(Vec<(String, u64)>),
}

/// By what a message came.
#[derive(Debug)]
pub(super) enum Source {
    /// The queue of this process: it says itself whom it is for, and has the time at which it was sent.
    Queue { sent: f64 },
    /// What was published to this topic of the pub/sub layer.
    Topic(String),
}

/// Seconds since 1970, by the clock of this machine: what channels_redis sorts and expires by.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as f64 / 1e6
}
