//! The channel from the driver's thread to the thread that delivers. It is bounded by bytes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{ChannelName, Envelope, GroupName};

/// Something to be delivered. It holds its place in the bound on bytes.
///
/// `S` says where a message came from. `O` says from where nothing comes any more.
#[derive(Debug)]
pub(in crate::layers) enum Inbound<S, O> {
    /// A message, as it came from the server.
    Message { bytes: Bytes, source: S, room: OwnedSemaphorePermit },
    /// An event for one channel of this process.
    Direct { channel: ChannelName, envelope: Envelope, room: OwnedSemaphorePermit },
    /// Members of these groups may have missed something.
    Gap { groups: Vec<GroupName>, seconds: f64, _room: OwnedSemaphorePermit },
    /// Nothing more comes from there.
    Over(O),
}

/// The sender of the channel.
#[derive(Debug)]
pub(in crate::layers) struct InboundSender<S, O> {
    sender: UnboundedSender<Inbound<S, O>>,
    room: Arc<Semaphore>,
    bytes: usize,
}

impl<S, O> InboundSender<S, O> {
    pub(in crate::layers) fn new(bytes: usize) -> (Self, UnboundedReceiver<Inbound<S, O>>) {
        let (sender, receiver) = unbounded_channel();
        (Self { sender, room: Arc::new(Semaphore::new(bytes)), bytes }, receiver)
    }

    fn weight(&self, bytes: usize) -> u32 {
        (bytes + 256).min(self.bytes) as u32
    }

    /// Hands a message over. Waits until there is room.
    pub(in crate::layers) async fn message(&self, bytes: Bytes, source: S) {
        let weight = self.weight(bytes.len());
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await {
            // This fails only when the layer ends.
            let _ = self.sender.send(Inbound::Message { bytes, source, room });
        }
    }

    /// Hands a message over that has its place in another bound on bytes.
    pub(in crate::layers) fn held(&self, bytes: Bytes, source: S, room: OwnedSemaphorePermit) {
        // This fails only when the layer ends.
        let _ = self.sender.send(Inbound::Message { bytes, source, room });
    }

    /// Hands a message over. Returns false if there is no room.
    pub(in crate::layers) fn offer(&self, bytes: Bytes, source: S) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.weight(bytes.len()));
        room.is_ok_and(|room| self.sender.send(Inbound::Message { bytes, source, room }).is_ok())
    }

    /// Hands over an event for one channel. Returns false if there is no room.
    pub(in crate::layers) fn direct(&self, channel: ChannelName, envelope: Envelope, bytes: usize) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.weight(bytes));
        room.is_ok_and(|room| self.sender.send(Inbound::Direct { channel, envelope, room }).is_ok())
    }

    /// Whether half of the room is free.
    #[cfg(feature = "nats")]
    pub(in crate::layers) fn is_half_empty(&self) -> bool {
        self.room.available_permits() >= self.bytes / 2
    }

    /// Says that nothing more comes from there.
    pub(in crate::layers) fn over(&self, over: O) {
        let _ = self.sender.send(Inbound::Over(over));
    }

    /// Tells members that they may have missed events. Waits until there is room.
    pub(in crate::layers) async fn gap(&self, groups: Vec<GroupName>, seconds: f64) {
        let weight = self.weight(64 * groups.len());
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(weight).await {
            let _ = self.sender.send(Inbound::Gap { groups, seconds, _room: room });
        }
    }
}

impl<S, O> Clone for InboundSender<S, O> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), room: Arc::clone(&self.room), bytes: self.bytes }
    }
}
