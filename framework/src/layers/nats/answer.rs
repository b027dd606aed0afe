//! The answer of a process to a request about a channel.

use crate::{ChannelName, LayerError};

/// An answer. On the wire it is a word, and some words have a value after a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::layers) enum ProcessAnswer {
    /// `channels <limit>`: as many channels hold messages as the limit allows.
    Channels(usize),
    /// `full`: there is no room for the message.
    Full,
    /// `groups <limit>`: the connection is in as many groups as the limit allows.
    Groups(usize),
    /// `none`: the channel has no receiver.
    None,
    /// `ok`: the request was carried out.
    Ok,
    /// `queues <limit>`: the group has as many queues as the limit allows.
    Queues(usize),
    /// `refused <why>`: the request cannot be carried out.
    Refused(String),
}

impl ProcessAnswer {
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Channels(limit) => format!("channels {limit}"),
            Self::Full => "full".to_owned(),
            Self::Groups(limit) => format!("groups {limit}"),
            Self::None => "none".to_owned(),
            Self::Ok => "ok".to_owned(),
            Self::Queues(limit) => format!("queues {limit}"),
            Self::Refused(why) => format!("refused {why}"),
        }
    }

    /// Reads an answer. Bytes that are not an answer count as a refusal.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)]);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match (word, rest.parse()) {
            ("ok", _) => Self::Ok,
            ("full", _) => Self::Full,
            ("none", _) => Self::None,
            ("channels", Ok(limit)) => Self::Channels(limit),
            ("groups", Ok(limit)) => Self::Groups(limit),
            ("queues", Ok(limit)) => Self::Queues(limit),
            ("refused", _) => Self::Refused(rest.to_owned()),
            _ => Self::Refused(format!("the answer is invalid: {text:?}")),
        }
    }

    /// The result for the caller that asked about this channel.
    pub(super) fn into_result(self, channel: &ChannelName) -> Result<(), LayerError> {
        match self {
            Self::Channels(limit) => Err(LayerError::TooManyChannels { limit }),
            Self::Full => Err(LayerError::ChannelFull(channel.clone())),
            Self::Groups(limit) => Err(LayerError::TooManyGroups { limit }),
            Self::None => Err(LayerError::NoReceiver),
            Self::Ok => Ok(()),
            Self::Queues(limit) => Err(LayerError::TooManyQueues { limit }),
            Self::Refused(why) => Err(LayerError::Refused(why)),
        }
    }
}

impl From<Result<(), LayerError>> for ProcessAnswer {
    fn from(done: Result<(), LayerError>) -> Self {
        match done {
            Ok(()) => Self::Ok,
            Err(LayerError::ChannelFull(_)) => Self::Full,
            Err(LayerError::NoReceiver) => Self::None,
            Err(LayerError::TooManyChannels { limit }) => Self::Channels(limit),
            Err(LayerError::TooManyGroups { limit }) => Self::Groups(limit),
            Err(LayerError::TooManyQueues { limit }) => Self::Queues(limit),
            Err(other) => Self::Refused(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_were_written() {
        let all = [
            ProcessAnswer::Channels(7),
            ProcessAnswer::Full,
            ProcessAnswer::Groups(0),
            ProcessAnswer::None,
            ProcessAnswer::Ok,
            ProcessAnswer::Queues(10_000),
            ProcessAnswer::Refused("it is not an event".into()),
        ];
        for answer in all {
            assert_eq!(ProcessAnswer::read(answer.to_text().as_bytes()), answer);
        }
    }

    #[test]
    fn an_invalid_answer_is_a_refusal() {
        for strange in [&b""[..], b"what", b"groups", b"groups x", b"\xff\xfe", &[b'x'; 100_000]] {
            assert!(matches!(ProcessAnswer::read(strange), ProcessAnswer::Refused(_)));
        }
    }
}
