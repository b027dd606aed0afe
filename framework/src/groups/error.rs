//! The errors of a channel layer.

use std::fmt;

use crate::{ChannelName, EventError, NameError};

/// Why a layer did not do what it was asked.
///
/// The [guide](crate::docs::guide#layer) has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerError {
    /// The channel is full (rule 23: a direct send to a full channel is an error).
    ChannelFull(ChannelName),
    /// The layer was closed, and the group's history is written to a file: nobody gets the event.
    ///
    /// [`MemoryLayer::history_file`](crate::MemoryLayer::history_file) says why.
    Closed,
    /// A consumer reads this channel, so `receive` cannot.
    ConsumerChannel(ChannelName),
    /// The message is larger than the layer allows.
    MessageTooLarge {
        /// How many bytes it has.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The channel name that was to be made is invalid.
    Name(NameError),
    /// Nobody receives from this channel.
    ///
    /// Its consumer has ended, or, on a layer that keeps no messages, no process reads it.
    NoReceiver,
    /// The layer's server refused, or did not answer in time. The text says why.
    Refused(String),
    /// As many queues as the layer allows hold messages already.
    TooManyChannels {
        /// [`LayerConfig::channels`](crate::LayerConfig::channels).
        limit: usize,
    },
    /// The connection is in as many groups as its limits allow.
    TooManyGroups {
        /// [`Limits::groups`](crate::Limits::groups).
        limit: usize,
    },
    /// The group has as many queues as the layer allows.
    TooManyQueues {
        /// [`LayerConfig::group_queues`](crate::LayerConfig::group_queues).
        limit: usize,
    },
    /// The layer's server cannot be reached. The text says which server, and why.
    Unavailable(String),
    /// The layer's backend does not have this operation. The text says which.
    Unsupported(&'static str),
    /// The event cannot be written for another process.
    Unwritable(EventError),
    /// A blocking call on a thread that runs consumers: it would stop them all.
    WouldBlock,
    /// The channel belongs to another process (rule 30: only that process can receive from it).
    WrongProcess(ChannelName),
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChannelFull(channel) => {
                write!(
                    f,
                    "the channel {channel:?} is full: its receiver is too slow, or raise LayerConfig::capacity",
                    channel = channel.as_str()
                )
            }
            Self::Closed => f.write_str(
                "the layer was closed, and the history of its groups is written: send before Layer::close",
            ),
            Self::ConsumerChannel(channel) => {
                write!(
                    f,
                    "a consumer reads the channel {:?} itself: give it a handler instead",
                    channel.as_str()
                )
            }
            Self::MessageTooLarge { size, limit } => {
                write!(
                    f,
                    "the message has {size} bytes, and the layer takes at most {limit}: store the data elsewhere, and send its address"
                )
            }
            Self::Name(_) => f.write_str("no channel name can be made"),
            Self::NoReceiver => {
                f.write_str("nobody receives from this channel: its consumer has gone, or no worker reads it")
            }
            Self::Refused(reason) => write!(f, "the layer's server refused: {reason}"),
            Self::TooManyChannels { limit } => {
                write!(
                    f,
                    "{limit} channels hold messages already: receive them, or raise LayerConfig::channels"
                )
            }
            Self::TooManyGroups { limit } => {
                write!(f, "the connection is in {limit} groups already: leave some, or raise Limits::groups")
            }
            Self::TooManyQueues { limit } => {
                write!(
                    f,
                    "the group has {limit} queues already: discard some, or raise LayerConfig::group_queues"
                )
            }
            Self::Unavailable(reason) => write!(f, "the layer's server is away: {reason}"),
            Self::Unsupported(operation) => {
                write!(f, "the layer's backend does not implement ChannelLayer::{operation}")
            }
            Self::Unwritable(_) => f.write_str("the event cannot be sent to another process"),
            Self::WouldBlock => f.write_str(
                "a blocking call on a thread that runs consumers: await the call without `_blocking`",
            ),
            Self::WrongProcess(channel) => {
                write!(f, "the channel {:?} belongs to another process", channel.as_str())
            }
        }
    }
}

crate::causes::debug_shows_causes!(LayerError);

impl std::error::Error for LayerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Unwritable(error) => Some(error),
            _ => None,
        }
    }
}
