//! What a caller asks of the thread that has the logs.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{Delivery, GroupName, groups::history::position::Position};

/// Why an event was not added to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::layers::nats) enum AppendError {
    /// It is not in the log.
    Not(String),
    /// Nobody has said whether it is in the log.
    Unknown(String),
}

/// An event that is to be added to a log.
#[derive(Debug)]
pub(in crate::layers) struct Append {
    pub(in crate::layers::nats) policy: usize,
    pub(in crate::layers::nats) group: GroupName,
    pub(in crate::layers::nats) nonce: u64,
    pub(in crate::layers::nats) payload: Bytes,
    /// Is told, or dropped, when the members here have it.
    pub(in crate::layers::nats) served: oneshot::Sender<Delivery>,
    pub(in crate::layers::nats) reply: oneshot::Sender<Result<Position, AppendError>>,
    pub(in crate::layers::nats) room: OwnedSemaphorePermit,
}

/// An event of which nobody has said whether it is in its log, because the connection was lost.
#[derive(Debug)]
pub(in crate::layers::nats) struct Unsure {
    pub(in crate::layers::nats) policy: usize,
    pub(in crate::layers::nats) group: GroupName,
    pub(in crate::layers::nats) nonce: u64,
    pub(in crate::layers::nats) since: Instant,
    /// The newest place that this process had seen in the log when it sent the event.
    pub(in crate::layers::nats) seen: Option<Position>,
    pub(in crate::layers::nats) reply: oneshot::Sender<Result<Position, AppendError>>,
}

/// An event that came to a group and is in no log.
#[derive(Debug)]
pub(in crate::layers::nats) struct ForeignEvent {
    pub(in crate::layers::nats) group: GroupName,
    pub(in crate::layers::nats) policy: usize,
    pub(in crate::layers::nats) payload: Bytes,
}
