//! How a connection of a hub is addressed: by its key, and by its channel name.

use crate::names::ChannelName;

/// The place of a connection in its hub.
///
/// The serial number tells the connection from an earlier one in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// The channel name of a consumer: `specific.<process>!<hub>.<slot>.<serial>`. [`consumer_of`] reads it.
pub(crate) fn consumer_channel(process: &str, hub: u64, key: Key) -> ChannelName {
    ChannelName::new(format!("specific.{process}!{hub}.{}.{}", key.slot, key.serial))
        .expect("letters, digits and dots, at most 90 of them")
}

/// The hub and the key of a consumer of this process, from its channel. `None` for every other name.
pub(crate) fn consumer_of(process: &str, channel: &ChannelName) -> Option<(u64, Key)> {
    let mut parts = channel.local()?.split('.');
    let hub = parts.next()?.parse().ok()?;
    let slot = parts.next()?.parse().ok()?;
    let serial = parts.next()?.parse().ok()?;
    (parts.next().is_none() && is_of(process, channel)).then_some((hub, Key { slot, serial }))
}

/// Whether a process made this channel, so that only it receives from the channel.
pub(crate) fn is_of(process: &str, channel: &ChannelName) -> bool {
    channel.non_local().strip_suffix('!').is_some_and(|name| name.ends_with(process))
}
