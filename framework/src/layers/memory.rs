//! The layer inside one process.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ChannelLayer, Groups, LayerConfig, LayerError};
use crate::{ChannelName, Delivery, Envelope, GroupName};

/// The layer inside one process, for programs of one process and for tests.
///
/// It differs from Channels' `InMemoryChannelLayer`: it serves all threads of the process, its
/// `channel_capacity` works, a channel stays in its groups when one of its messages expires, and no operation
/// looks at channels or groups other than its own.
///
/// It shares events and never writes them. In a build with debug assertions, as tests have, it writes the first event of
/// each type and name, and refuses an event that another layer could not write: [`LayerError::Unwritable`].
#[derive(Debug)]
pub struct MemoryLayer {
    groups: Groups,
}

impl MemoryLayer {
    /// Makes a layer with the defaults of [`LayerConfig`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(LayerConfig::new())
    }

    /// Makes a layer with the bounds of `config`.
    #[must_use]
    pub fn with_config(config: LayerConfig) -> Self {
        Self { groups: Groups::new(config) }
    }
}

impl Default for MemoryLayer {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ChannelLayer for MemoryLayer {
    fn groups(&self) -> &Groups {
        &self.groups
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        check(&envelope)?;
        self.groups.send(channel, envelope).await
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.groups.receive(channel).await
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.groups.new_channel(prefix)
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.groups.add(group, channel).await
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.groups.discard(group, channel).await
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        check(&envelope)?;
        self.groups.publish(group, envelope).await;
        Ok(())
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        check(&envelope)?;
        Ok(self.groups.publish_counted(group, envelope).await)
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.groups.flush();
        Ok(())
    }
}

/// A test with this layer should fail as the program would on another layer.
fn check(envelope: &Envelope) -> Result<(), LayerError> {
    if cfg!(debug_assertions) { envelope.check_writable().map_err(LayerError::Unwritable) } else { Ok(()) }
}

impl From<MemoryLayer> for super::Layer {
    fn from(layer: MemoryLayer) -> Self {
        Self::from_arc(Arc::new(layer))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{Event, EventError, Layer};

    #[derive(Clone, Serialize, Deserialize)]
    enum Inner {
        One { number: u8 },
    }

    /// Its words do not show that `Inner` is an enum.
    #[derive(Clone, Serialize, Deserialize, Event)]
    enum Room {
        In(Inner),
        Left { user: String },
    }

    #[derive(Clone, Serialize, Deserialize, Event)]
    struct Flat {
        #[serde(flatten)]
        rest: Tagged,
    }

    #[derive(Clone, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        One,
    }

    #[tokio::test]
    async fn an_event_that_no_other_layer_could_write_is_refused() {
        let layer = Layer::from(MemoryLayer::new());
        let (room, channel) = (GroupName::new("room").unwrap(), ChannelName::new("jobs").unwrap());
        let reason = |sent: Result<(), LayerError>| match sent {
            Err(LayerError::Unwritable(EventError::Unwritable { name, reason })) => (name, reason),
            other => panic!("{other:?}"),
        };
        let inside = Room::In(Inner::One { number: 1 });
        for _ in 0..2 {
            let (name, text) = reason(layer.group_send(&room, &inside).await);
            assert_eq!(name, "in");
            assert!(
                text.contains("enum with such structs as its variants") && text.contains("::Room"),
                "{text}"
            );
        }
        let (name, text) = reason(layer.send(&channel, &inside).await);
        assert_eq!((&*name, text.contains("::Room")), ("in", true));
        let (_, text) = reason(layer.group_send(&room, Flat { rest: Tagged::One }).await);
        assert!(text.contains(r#"the field "type" is reserved"#) && text.contains("::Flat"), "{text}");
        layer.group_send(&room, Room::Left { user: "ann".into() }).await.unwrap();
    }
}
