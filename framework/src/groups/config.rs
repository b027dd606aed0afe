//! The configuration of a layer.

use std::time::Duration;

use super::history::policy::History;
use crate::{ChannelName, GroupName, time::FOREVER};

/// The bounds and lifetimes of a layer: the fields of Channels, with its defaults.
///
/// | Field | Default | At the limit |
/// |---|---|---|
/// | [`capacity`](Self::capacity) | 100 messages a channel or inbox | `send` fails with `ChannelFull`; `group_send` drops the event for that member, and counts it (rule 23: a full channel is an error only for a direct send) |
/// | [`expiry`](Self::expiry) | 60 s | a message that nobody has received is dropped |
/// | [`group_expiry`](Self::group_expiry) | 86,400 s | a queue leaves its groups; a live consumer stays in them |
/// | [`channels`](Self::channels) | 100,000 queues | `send` and `receive` fail with `TooManyChannels` |
/// | [`group_queues`](Self::group_queues) | 10,000 queues a group | `group_add` fails with `TooManyQueues` |
/// | [`history`](Self::history) | no group keeps its events | the oldest events are dropped; who has missed them is told |
/// | [`history_memory`](Self::history_memory) | 64 MiB | as above |
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Layer, LayerConfig, MemoryLayer};
///
/// let config = LayerConfig::new().capacity(1_000).expiry(Duration::from_secs(30));
/// let layer = Layer::from(MemoryLayer::with_config(config));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct LayerConfig {
    pub(crate) capacity: usize,
    pub(crate) channel_capacity: Vec<(String, usize)>,
    pub(crate) expiry: Duration,
    pub(crate) group_expiry: Duration,
    pub(crate) channels: usize,
    pub(crate) group_queues: usize,
    pub(crate) history: Vec<(String, History)>,
    pub(crate) history_memory: usize,
}

impl Default for LayerConfig {
    fn default() -> Self {
        Self {
            capacity: 100,
            channel_capacity: Vec::new(),
            expiry: Duration::from_secs(60),
            group_expiry: Duration::from_secs(86_400),
            channels: 100_000,
            group_queues: 10_000,
            history: Vec::new(),
            history_memory: 64 << 20,
        }
    }
}

impl LayerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages may wait in a channel, or events in a consumer's inbox. Default 100, at least 1.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages.max(1);
        self
    }

    /// Another capacity for the channels whose whole name fits `pattern`.
    ///
    /// If several patterns fit, the first one counts. The syntax is that of Python's `fnmatch`: `*` stands for any
    /// characters, `?` for one character, `[abc]` for one of a set, and `[!abc]` for one outside of a set.
    pub fn channel_capacity(mut self, pattern: impl Into<String>, messages: usize) -> Self {
        self.channel_capacity.push((pattern.into(), messages.max(1)));
        self
    }

    /// How long a message waits to be received. Default 60 s; [`Duration::MAX`] means for ever.
    pub fn expiry(mut self, time: Duration) -> Self {
        self.expiry = time.min(FOREVER);
        self
    }

    /// How long a queue stays in a group after its last `group_add`. Default one day; [`Duration::MAX`] means for ever.
    pub fn group_expiry(mut self, time: Duration) -> Self {
        self.group_expiry = time.min(FOREVER);
        self
    }

    /// How many queues may hold messages at once. Default 100,000.
    pub fn channels(mut self, count: usize) -> Self {
        self.channels = count;
        self
    }

    /// How many queues one group may have. Default 10,000.
    pub fn group_queues(mut self, count: usize) -> Self {
        self.group_queues = count;
        self
    }

    /// The groups whose whole name fits `pattern` keep their events, and members that were away get what they missed.
    ///
    /// If several patterns fit, the first one counts. The syntax is that of [`channel_capacity`](Self::channel_capacity).
    /// All processes of a layer must have the same patterns and policies. [`History`] has an example.
    pub fn history(mut self, pattern: impl Into<String>, history: History) -> Self {
        self.history.push((pattern.into(), history));
        self
    }

    /// How many bytes of events this process keeps in its memory for all groups. Default 64 MiB, at least 64 KiB.
    ///
    /// The oldest events go first, whichever group they are of. A layer with a server reads them again when they are
    /// needed. Without a server they are lost, and a member that has missed them is told so.
    pub fn history_memory(mut self, bytes: usize) -> Self {
        self.history_memory = bytes.max(64 << 10);
        self
    }

    /// What a group keeps of its events; `None` if nothing.
    pub(crate) fn history_of(&self, group: &GroupName) -> Option<History> {
        self.policy_of(group).map(|policy| self.history[policy].1)
    }

    /// The number of the policy that holds for a group.
    pub(crate) fn policy_of(&self, group: &GroupName) -> Option<usize> {
        self.history.iter().position(|(pattern, _)| fits(pattern.as_bytes(), group.as_bytes()))
    }

    /// The capacity of a channel. Its name is made only if there are patterns to compare it with.
    pub(crate) fn capacity_with(&self, channel: impl FnOnce() -> ChannelName) -> usize {
        if self.channel_capacity.is_empty() { self.capacity } else { self.capacity_of(&channel()) }
    }

    /// The capacity of a channel.
    pub(crate) fn capacity_of(&self, channel: &ChannelName) -> usize {
        let fits = |(pattern, _): &&(String, usize)| fits(pattern.as_bytes(), channel.as_bytes());
        self.channel_capacity.iter().find(fits).map_or(self.capacity, |(_, capacity)| *capacity)
    }
}

/// Whether `text` fits a pattern of `fnmatch`. A `[` without its `]` stands for itself.
fn fits(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // The rest of the pattern and of the text after the last `*`. On a mismatch, the `*` takes one more character.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((&b'*', rest)) = pattern.split_first() {
            pattern = rest;
            retry = Some((pattern, text));
            continue;
        }
        if let Some((&first, rest_of_text)) = text.split_first()
            && let Some(rest) = fits_one(pattern, first)
        {
            (pattern, text) = (rest, rest_of_text);
            continue;
        }
        if pattern.is_empty() && text.is_empty() {
            return true;
        }
        let Some((after_star, [_, shorter @ ..])) = retry else { return false };
        retry = Some((after_star, shorter));
        (pattern, text) = (after_star, shorter);
    }
}

/// The rest of the pattern, if its first element fits `byte`.
fn fits_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => {
            let (negated, set) = match rest.strip_prefix(b"!") {
                Some(set) => (true, set),
                None => (false, rest),
            };
            // A `]` right at the start is a member of the set.
            let Some(end) = set.iter().skip(1).position(|b| *b == b']').map(|at| at + 1) else {
                return (byte == b'[').then_some(rest);
            };
            let mut members = &set[..end];
            let mut found = false;
            while let Some((&from, others)) = members.split_first() {
                if let [b'-', to, others @ ..] = others {
                    found |= (from..=*to).contains(&byte);
                    members = others;
                } else {
                    found |= from == byte;
                    members = others;
                }
            }
            (found != negated).then_some(&set[end + 1..])
        }
        _ => (first == byte).then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_fnmatch_does() {
        let cases = [
            ("one", "one", true),
            ("one", "one!x", false),
            ("*", "", true),
            ("specific.*", "specific.abc!def", true),
            ("http.re*st", "http.request", true),
            ("http.re*st", "http.requests", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[bc]d", "acd", true),
            ("a[!bc]d", "acd", false),
            ("a[0-9]d", "a5d", true),
            ("a[", "a[", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let config = LayerConfig::new().capacity(7).channel_capacity("one", 1).channel_capacity("o*", 2);
        let capacity = |name: &str| config.capacity_of(&ChannelName::new(name).unwrap());
        assert_eq!((capacity("one"), capacity("other"), capacity("two")), (1, 2, 7));
    }
}
