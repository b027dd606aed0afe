//! What came from Redis on its way to the members: on a thread of its own, for relays are user code.

use std::{
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::codec::Undecodable;
use crate::{ChannelName, Envelope, GroupName, layers::LayerGap};

/// Something to be delivered, holding its place in the bound on bytes.
#[derive(Debug)]
pub(super) enum Inbound {
    /// A message as it came.
    Message { bytes: Bytes, source: Source, room: OwnedSemaphorePermit },
    /// An event for one channel of this process.
    Direct { channel: ChannelName, envelope: Envelope, room: OwnedSemaphorePermit },
    /// Members of these groups may have missed something.
    Gap { groups: Vec<GroupName>, seconds: f64 },
    /// What came before this is all that comes.
    Over(Over),
}

/// What nothing comes by any more.
#[derive(Debug)]
pub(super) enum Over {
    /// The connection to this shard.
    Shard(usize),
    /// Topics that were left.
    Topics(Vec<String>),
}

/// By what a message came.
#[derive(Debug)]
pub(super) enum Source {
    /// The queue of this process: it says itself whom it is for, and has the time at which it was sent.
    Queue { sent: f64 },
    /// What was published to this topic of the pub/sub layer.
    Topic(String),
}

/// The way in, bounded by bytes.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    sender: UnboundedSender<Inbound>,
    room: Arc<Semaphore>,
    bytes: usize,
}

impl Inbox {
    pub(super) fn new(bytes: usize) -> (Self, UnboundedReceiver<Inbound>) {
        let (sender, receiver) = unbounded_channel();
        (Self { sender, room: Arc::new(Semaphore::new(bytes)), bytes }, receiver)
    }

    /// Hands a message over, waiting for room.
    pub(super) async fn message(&self, bytes: Bytes, source: Source) {
        let weight = (bytes.len() + 256).min(self.bytes) as u32;
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await {
            // The other end goes with the layer.
            let _ = self.sender.send(Inbound::Message { bytes, source, room });
        }
    }

    /// Hands a message over; false where there is no room.
    pub(super) fn offer(&self, bytes: Bytes, source: Source) -> bool {
        let weight = (bytes.len() + 256).min(self.bytes) as u32;
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight);
        room.is_ok_and(|room| self.sender.send(Inbound::Message { bytes, source, room }).is_ok())
    }

    /// Hands an event over; false where there is no room.
    pub(super) fn direct(&self, channel: ChannelName, envelope: Envelope, bytes: usize) -> bool {
        let weight = (bytes + 256).min(self.bytes) as u32;
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight);
        room.is_ok_and(|room| self.sender.send(Inbound::Direct { channel, envelope, room }).is_ok())
    }

    pub(super) fn over(&self, over: Over) {
        let _ = self.sender.send(Inbound::Over(over));
    }

    pub(super) fn gap(&self, groups: Vec<GroupName>, seconds: f64) {
        let _ = self.sender.send(Inbound::Gap { groups, seconds });
    }
}

/// What a layer does with what came.
pub(super) trait Deliver: Send + Sync + 'static {
    /// Delivers one message.
    fn message(&self, bytes: Bytes, source: Source) -> impl Future<Output = ()> + Send;
    /// Hears that all has come that will.
    fn over(&self, over: Over) {
        let _ = over;
    }
    /// Its consumers and groups.
    fn groups(&self) -> &crate::layers::Groups;
}

/// Starts the thread that delivers, one thing after the other. It ends with the last [`Inbox`].
pub(super) fn start<D: Deliver>(
    layer: Arc<D>,
    mut inbound: UnboundedReceiver<Inbound>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = async move {
        while let Some(next) = inbound.recv().await {
            match next {
                Inbound::Message { bytes, source, room } => {
                    layer.message(bytes, source).await;
                    drop(room);
                }
                Inbound::Direct { channel, envelope, room } => {
                    if layer.groups().send(&channel, envelope).await.is_err() {
                        layer.groups().directory().counters.stray.one();
                    }
                    drop(room);
                }
                Inbound::Over(over) => layer.over(over),
                Inbound::Gap { groups, seconds } => {
                    for group in groups {
                        let gap = Envelope::new(LayerGap::new(group.clone(), seconds));
                        layer.groups().publish(&group, gap).await;
                    }
                }
            }
        }
    };
    thread::Builder::new().name("greenroom-redis-in".into()).spawn(move || runtime.block_on(run))?;
    Ok(())
}

/// Says, now and then, that a message could not be read.
pub(super) fn log_undecodable(
    status: &super::status::Status,
    counters: &crate::metrics::Counters,
    from: &str,
    error: &Undecodable,
) {
    counters.undecodable.one();
    if let Some(more) = status.logs("undecodable") {
        tracing::warn!(from, %error, more, "a message of Redis cannot be read, and is dropped");
    }
}

/// Seconds since 1970, by the clock of this machine: what channels_redis sorts and expires by.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as f64 / 1e6
}
