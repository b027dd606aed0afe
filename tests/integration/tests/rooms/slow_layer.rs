//! A layer that takes events only when the test says so.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use async_trait::async_trait;
use greenroom::{
    ChannelLayer, ChannelName, Delivery, Envelope, GroupName, LayerConfig, LayerError, layers::Groups,
};
use tokio::sync::Semaphore;

/// A layer in memory, with a gate before each event to a group.
#[derive(Debug, Clone)]
pub(super) struct SlowLayer(Arc<State>);

#[derive(Debug)]
struct State {
    groups: Groups,
    gate: Semaphore,
    refuses: AtomicBool,
}

impl SlowLayer {
    pub(super) fn new() -> Self {
        let groups = Groups::new(LayerConfig::new().capacity(5_000));
        Self(Arc::new(State { groups, gate: Semaphore::new(0), refuses: AtomicBool::new(false) }))
    }

    /// Lets so many events pass.
    pub(super) fn let_pass(&self, events: usize) {
        self.0.gate.add_permits(events);
    }

    /// Refuses all events from now on.
    pub(super) fn refuse(&self) {
        self.0.refuses.store(true, SeqCst);
    }
}

#[async_trait]
impl ChannelLayer for SlowLayer {
    fn groups(&self) -> &Groups {
        &self.0.groups
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        self.0.groups.send(channel, envelope).await
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.0.groups.receive(channel).await
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.0.groups.new_channel(prefix)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.groups.add(group, channel).await
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.groups.discard(group, channel).await
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.0.gate.acquire().await.expect("never closed").forget();
        if self.0.refuses.load(SeqCst) {
            return Err(LayerError::Refused("no".to_owned()));
        }
        self.0.groups.publish(group, envelope).await;
        Ok(())
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        Ok(self.0.groups.publish_counted(group, envelope).await)
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.0.groups.flush();
        Ok(())
    }
}
