//! Every limit of a connection, with its default and what happens at it.

use std::time::Duration;

use super::websocket::deflate::Deflate;

/// The limits of a connection. Set them for all routes with [`Mount::limits`](crate::Mount::limits), for one with
/// [`UrlRouter::route_with`](crate::UrlRouter::route_with).
///
/// | Limit | Default | At the limit |
/// |---|---|---|
/// | [`message_size`](Self::message_size) | 1 MiB | close 1009, at the frame's header |
/// | [`deflate`](Self::deflate) | [on](Deflate), inflated up to `message_size` | close 1009, while it is inflated |
/// | [`read_ahead`](Self::read_ahead) | 64 KiB, or one message | the socket is not read until a hook has taken one |
/// | [`outbox_size`](Self::outbox_size) | 1 MiB, or one message | the [`Overflow`] policy |
/// | [`connect_timeout`](Self::connect_timeout) | 5 s | `connect` is cancelled, the client gets 503 |
/// | [`close_timeout`](Self::close_timeout) | 5 s | the socket is closed without the client's close frame |
/// | [`disconnect_grace`](Self::disconnect_grace) | 10 s | the hook that still runs is cancelled |
/// | [`groups`](Self::groups) | 1,024 | [`Context::group_add`](crate::Context::group_add) returns an error |
/// | [`tasks`](Self::tasks) | 128 | [`Context::spawn`](crate::Context::spawn) returns an error |
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    pub(crate) message_size: usize,
    pub(crate) deflate: Option<Deflate>,
    pub(crate) read_ahead: usize,
    pub(crate) outbox_size: usize,
    pub(crate) overflow: Overflow,
    pub(crate) flush: Flush,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) disconnect_grace: Duration,
    pub(crate) groups: usize,
    pub(crate) tasks: usize,
}

/// What happens to a frame that no longer fits into a connection's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is closed with 1013: the client learns that it missed something. The default.
    #[default]
    Close,
    /// The new frame is dropped and counted.
    DropNewest,
    /// The oldest frames that are not on their way yet are dropped and counted, until the new one fits.
    DropOldest,
}

/// When what was sent to a connection is written to its socket.
///
/// One write carries all that waits, and the write is nearly the whole cost of a delivery: who waits longer writes less
/// often. What it saves stands in the performance section of the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flush {
    /// At the end of the worker's turn. The default.
    #[default]
    Turn,
    /// So long after the first frame that waits, in whole milliseconds: for dashboards whose readers do not see 20 ms.
    Every(Duration),
    /// As [`Turn`](Self::Turn), but as [`Every`](Self::Every) while the worker is behind: while it spent three
    /// quarters of its time on writing.
    WhenBehind(Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 1 << 20,
            deflate: Some(Deflate::new()),
            read_ahead: 64 << 10,
            outbox_size: 1 << 20,
            overflow: Overflow::Close,
            flush: Flush::Turn,
            connect_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            disconnect_grace: Duration::from_secs(10),
            groups: 1024,
            tasks: 128,
        }
    }
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The largest message, in bytes, whole or in fragments. Default 1 MiB.
    pub fn message_size(mut self, bytes: usize) -> Self {
        self.message_size = bytes;
        self
    }

    /// How messages are compressed with the clients that offer it, and up to which size they are inflated. `None`:
    /// not at all. Default: [`Deflate::new`].
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.deflate = deflate.into();
        self
    }

    /// How many bytes of messages are read while a hook runs. Default 64 KiB.
    ///
    /// One message is always read.
    /// While more than this waits in the outbox, the client's messages wait too: who does not read is not answered.
    pub fn read_ahead(mut self, bytes: usize) -> Self {
        self.read_ahead = bytes;
        self
    }

    /// How many bytes may wait to be written; one frame may always wait. Default 1 MiB.
    pub fn outbox_size(mut self, bytes: usize) -> Self {
        self.outbox_size = bytes;
        self
    }

    /// What happens to a frame beyond [`outbox_size`](Self::outbox_size). Default [`Overflow::Close`].
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = policy;
        self
    }

    /// When frames are written. Default [`Flush::Turn`]: at the end of each turn.
    pub fn flush(mut self, when: Flush) -> Self {
        self.flush = when;
        self
    }

    /// How long `connect` may take to accept or reject. Default 5 s.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How long the client may take to answer a close frame. Default 5 s.
    pub fn close_timeout(mut self, time: Duration) -> Self {
        self.close_timeout = time;
        self
    }

    /// How long a hook may run on once the connection has ended. Default 10 s.
    ///
    /// `disconnect` may take as long.
    pub fn disconnect_grace(mut self, time: Duration) -> Self {
        self.disconnect_grace = time;
        self
    }

    /// How many groups one connection may be in at once. Default 1,024.
    pub fn groups(mut self, count: usize) -> Self {
        self.groups = count;
        self
    }

    /// How many tasks of [`Context::spawn`](crate::Context::spawn) may run at once. Default 128.
    pub fn tasks(mut self, count: usize) -> Self {
        self.tasks = count;
        self
    }
}
