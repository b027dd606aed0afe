//! The members that an event leaves out.

use std::sync::Arc;

use super::key::{Key, consumer_of};
use crate::ChannelName;

/// The consumers of this process that one event leaves out, each with the id of its hub. They are sorted.
///
/// Most events leave nobody out. Then this is `None`, and costs a hub one look for each event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Except(Option<Arc<[(u64, Key)]>>);

impl Except {
    /// Finds the consumers of `process` among these channels. The other channels are queues, or of other processes.
    pub(crate) fn new(process: &str, channels: &[ChannelName]) -> Self {
        if channels.is_empty() {
            return Self::default();
        }
        let mut keys: Vec<_> = channels.iter().filter_map(|channel| consumer_of(process, channel)).collect();
        keys.sort_unstable();
        Self((!keys.is_empty()).then(|| keys.into()))
    }

    /// Those on one hub.
    pub(super) fn on(&self, hub: u64) -> LeftOut<'_> {
        let Some(keys) = &self.0 else { return LeftOut(&[]) };
        let (start, end) =
            (keys.partition_point(|(of, _)| *of < hub), keys.partition_point(|(of, _)| *of <= hub));
        LeftOut(&keys[start..end])
    }
}

/// The consumers of one hub that an event leaves out.
pub(super) struct LeftOut<'a>(&'a [(u64, Key)]);

impl LeftOut<'_> {
    pub(super) fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.0.binary_search_by_key(&key, |(_, key)| *key).is_ok()
    }

    /// Their keys, sorted.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.0.iter().map(|(_, key)| *key)
    }
}
