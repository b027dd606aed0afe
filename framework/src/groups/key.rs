//! How a connection of a hub is addressed: by its key, and by its channel name.

use crate::names::ChannelName;

/// The place of a connection in its hub.
///
/// The serial number tells the connection from an earlier one in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// The channel name of a consumer: `specific.<process>!<hub>.<slot>.<serial>`.
pub(crate) fn consumer_channel(process: &str, hub: u64, key: Key) -> ChannelName {
    ChannelName::new(format!("specific.{process}!{hub}.{}.{}", key.slot, key.serial))
        .expect("letters, digits and dots, at most 90 of them")
}
