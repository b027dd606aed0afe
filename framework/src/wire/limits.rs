//! Every limit of a connection, with its default and what happens at it.

use std::time::Duration;

use super::{rate::Rate, websocket::deflate::Deflate};

/// The limits of a connection.
///
/// Set them for all routes with [`Mount::limits`](crate::Mount::limits), or for one route with
/// [`UrlRouter::route_with`](crate::UrlRouter::route_with).
///
/// | Limit | Default | At the limit | Counted as |
/// |---|---|---|---|
/// | [`message_size`](Self::message_size) | 1 MiB | close 1009, at the frame's header | |
/// | [`deflate`](Self::deflate) | [on](Deflate), inflated up to `message_size` | close 1009, while it is inflated | |
/// | [`message_rate`](Self::message_rate) | off | close 1008 | [`message_rate`](crate::Metrics::message_rate) |
/// | [`read_ahead`](Self::read_ahead) | 64 KiB, or one message | the socket is not read until a hook takes a message | |
/// | [`outbox_size`](Self::outbox_size) | 1 MiB, or one message | the [`Overflow`] policy | [`too_slow`](crate::Metrics::too_slow), [`outbox_full`](crate::Metrics::outbox_full), [`conflated`](crate::Metrics::conflated) |
/// | [`flush`](Self::flush) | each turn | what waits is written ([`Flush`]) | |
/// | [`connect_timeout`](Self::connect_timeout) | 5 s | `connect` is cancelled, the client gets 503 | |
/// | [`response_timeout`](Self::response_timeout) | 60 s | the hook of an HTTP exchange is cancelled, the client gets 503 | |
/// | [`ping_interval`](Self::ping_interval) | 20 s | a ping is sent | |
/// | [`pong_timeout`](Self::pong_timeout) | 20 s | close 1011 | [`pong_timeout`](crate::Metrics::pong_timeout) |
/// | [`idle_timeout`](Self::idle_timeout) | off | close 1000 | [`idle_timeout`](crate::Metrics::idle_timeout) |
/// | [`frame_timeout`](Self::frame_timeout) | 30 s, and 1 s for each 4 KiB | close 1008 | [`frame_timeout`](crate::Metrics::frame_timeout) |
/// | [`write_timeout`](Self::write_timeout) | 30 s | close 1013 | [`write_timeout`](crate::Metrics::write_timeout) |
/// | [`close_timeout`](Self::close_timeout) | 5 s | the socket is closed without the client's close frame | [`close_timeout`](crate::Metrics::close_timeout) |
/// | [`disconnect_grace`](Self::disconnect_grace) | 10 s | the hook that still runs is cancelled | |
/// | [`groups`](Self::groups) | 1,024 | [`Context::group_add`](crate::ConnectionContext::group_add) returns an error | |
/// | [`tasks`](Self::tasks) | 128 | [`Context::spawn`](crate::ConnectionContext::spawn) returns an error | |
///
/// Pings and timeouts, from `ping_interval` to `close_timeout`, never wait for a hook. They also apply to a client
/// that has stopped reading. Their times are rounded up to quarters of a second, and may end up to a quarter of a
/// second later.
///
/// The [guide](crate::docs::guide#routing) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    pub(crate) message_size: usize,
    pub(crate) deflate: Option<Deflate>,
    pub(crate) message_rate: Option<Rate>,
    pub(crate) read_ahead: usize,
    pub(crate) outbox_size: usize,
    pub(crate) overflow: Overflow,
    pub(crate) flush: Flush,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Option<Duration>,
    pub(crate) ping_interval: Option<Ticks>,
    pub(crate) pong_timeout: Option<Ticks>,
    pub(crate) idle_timeout: Option<Ticks>,
    pub(crate) frame_timeout: Option<Ticks>,
    pub(crate) write_timeout: Option<Ticks>,
    pub(crate) close_timeout: Ticks,
    pub(crate) disconnect_grace: Duration,
    pub(crate) groups: usize,
    pub(crate) tasks: usize,
}

/// What happens if a frame does not fit into a connection's outbox.
///
/// ```
/// use greenroom::{Limits, Overflow};
///
/// // For values that are soon replaced by newer ones.
/// let limits = Limits::new().outbox_size(64 << 10).overflow(Overflow::DropOldest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection is closed with 1013, so the client learns that it missed something. The default.
    #[default]
    Close,
    /// The new frame is dropped and counted.
    DropNewest,
    /// The oldest frames that are not being written yet are dropped and counted, until the new one fits.
    DropOldest,
    /// Only the latest frame of each [key](crate::Outgoing::keyed) waits. It takes the older one's place.
    ///
    /// This happens even if the outbox is not full. So a client that is behind gets the current values, and not a
    /// megabyte of old ones. Replaced frames are counted. For frames without a key, and if the frames of all keys
    /// do not fit, the policy is [`DropOldest`](Self::DropOldest).
    Latest,
}

/// A time in ticks of a quarter of a second; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks(pub(crate) u32);

impl Ticks {
    /// How long one tick is.
    pub(crate) const LENGTH: Duration = Duration::from_millis(250);

    /// Rounds a time up to ticks. A time of more than 17 years becomes 17 years.
    pub(crate) fn of(time: Duration) -> Self {
        let ticks = time.as_millis().div_ceil(Self::LENGTH.as_millis());
        Self(u32::try_from(ticks).unwrap_or(u32::MAX).clamp(1, u32::MAX / 2))
    }

    /// The time that the ticks take.
    pub(crate) fn time(self) -> Duration {
        Self::LENGTH * self.0
    }

    /// The first tick at which the whole time has passed, counted from any moment of the tick `since`.
    pub(crate) fn after(self, since: u32) -> u32 {
        since.saturating_add(self.0).saturating_add(1)
    }
}

/// When the frames of a connection are written to its socket.
///
/// One write carries all frames that wait, and the write is nearly the whole cost of a delivery. So a longer wait
/// means fewer writes. The page about [performance](crate::docs::performance) shows what that saves.
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Flush, Limits};
///
/// let limits = Limits::new().flush(Flush::Every(Duration::from_millis(20)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flush {
    /// At the end of the thread's turn. The default.
    #[default]
    Turn,
    /// This long after the first frame began to wait, in whole milliseconds.
    ///
    /// A dashboard can use 20 ms, for example, because its readers do not notice them.
    Every(Duration),
    /// As [`Turn`](Self::Turn), but as [`Every`](Self::Every) while the thread is behind.
    ///
    /// A thread is behind if it spent three quarters of its time on writing.
    WhenBehind(Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 1 << 20,
            deflate: Some(Deflate::new()),
            message_rate: None,
            read_ahead: 64 << 10,
            outbox_size: 1 << 20,
            overflow: Overflow::Close,
            flush: Flush::Turn,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Some(Duration::from_secs(60)),
            ping_interval: Some(Ticks::of(Duration::from_secs(20))),
            pong_timeout: Some(Ticks::of(Duration::from_secs(20))),
            idle_timeout: None,
            frame_timeout: Some(Ticks::of(Duration::from_secs(30))),
            write_timeout: Some(Ticks::of(Duration::from_secs(30))),
            close_timeout: Ticks::of(Duration::from_secs(5)),
            disconnect_grace: Duration::from_secs(10),
            groups: 1024,
            tasks: 128,
        }
    }
}

impl Limits {
    /// The default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The limits of a fallback client, whose connection lives for `expires` without a request.
    ///
    /// The client gets no pings, and the write timeout is longer than `expires`.
    pub(crate) fn for_fallback(&self, expires: Duration) -> Self {
        Self {
            ping_interval: None,
            write_timeout: self.write_timeout.map(|time| Ticks(time.0.max(Ticks::of(expires).0 + 4))),
            ..self.clone()
        }
    }

    /// The largest message, in bytes, whole or in fragments. Default 1 MiB.
    pub fn message_size(mut self, bytes: usize) -> Self {
        self.message_size = bytes;
        self
    }

    /// How messages are compressed, with clients that offer compression. Default: [`Deflate::new`].
    ///
    /// It also says up to which size messages are inflated. `None` turns compression off.
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.deflate = deflate.into();
        self
    }

    /// How many messages a second the client may send, and how many at once. Off by default.
    ///
    /// The limit is a token bucket. It holds `burst` messages, at least one, and `per_second` come back each second.
    /// Pings count too, because each is answered. If a message finds the bucket empty, the connection is closed with
    /// 1008. The consumer still gets the messages before it. The client is not slowed down instead, because its pongs
    /// and its close would wait behind the flood, and nobody would know why.
    ///
    /// # Panics
    /// If `per_second` is 0.
    pub fn message_rate(mut self, per_second: u32, burst: u32) -> Self {
        self.message_rate = Some(Rate::new(per_second, burst));
        self
    }

    /// How many bytes of messages are read while a hook runs. Default 64 KiB.
    ///
    /// One message is always read. While more than this waits in the outbox, the client's messages wait too: a client
    /// that does not read gets no answers.
    pub fn read_ahead(mut self, bytes: usize) -> Self {
        self.read_ahead = bytes;
        self
    }

    /// How many bytes may wait to be written. Default 1 MiB.
    ///
    /// One frame may always wait, whatever its size.
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

    /// How long an HTTP consumer may take to send its headers. Default 60 s.
    ///
    /// `None`: any time. The time to read the request's body does not count. Once headers are sent, a response may go
    /// on for as long as its client reads it ([`write_timeout`](Self::write_timeout)).
    pub fn response_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.response_timeout = time.into();
        self
    }

    /// How long the client may be silent before it gets a ping. Default 20 s.
    ///
    /// `None`: it gets no pings. A ping is sent up to a quarter of this time sooner, so that the pings of many
    /// connections do not come at once. No ping is sent while frames wait to be written: then
    /// [`write_timeout`](Self::write_timeout) watches the client.
    pub fn ping_interval(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = time.into().map(Ticks::of);
        self
    }

    /// How long the client may take to answer a ping. Default 20 s.
    ///
    /// After this time the connection is closed with 1011 `keepalive ping timeout`, as by Python's `websockets`.
    /// Anything that is read counts as an answer. The time stands still while the socket is not read because
    /// [`read_ahead`](Self::read_ahead) is used up. `None`: any time.
    pub fn pong_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.pong_timeout = time.into().map(Ticks::of);
        self
    }

    /// How long the client may send no message. Off by default.
    ///
    /// After this time the connection is closed with 1000 `idle`: after another code most clients would connect again
    /// at once. Pings and pongs do not count as messages. The time stands still while the socket is not read, and
    /// the client is not idle while a hook runs. `None`: any time.
    ///
    /// Daphne's `--websocket_timeout`, a day, limits the age of a connection instead.
    pub fn idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = time.into().map(Ticks::of);
        self
    }

    /// How long a message may take from its first byte to its last. Default 30 s.
    ///
    /// After this time the connection is closed with 1008. Each 4 KiB that have arrived add one second. So a large
    /// message may come at a fair rate on a slow line, but not byte by byte. The time stands still while the socket is
    /// not read. `None`: any time.
    pub fn frame_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.frame_timeout = time.into().map(Ticks::of);
        self
    }

    /// How long frames may wait while the client reads none of them. Default 30 s.
    ///
    /// After this time the frames are dropped, and the connection is closed with 1013 and
    /// [`Cause::TooSlow`](crate::close::Cause::TooSlow). `None`: any time.
    pub fn write_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.write_timeout = time.into().map(Ticks::of);
        self
    }

    /// How long the client may take to answer a close frame. Default 5 s.
    ///
    /// The time begins anew whenever the client reads some of what waits before the close frame.
    pub fn close_timeout(mut self, time: Duration) -> Self {
        self.close_timeout = Ticks::of(time);
        self
    }

    /// How long a hook may run on after the connection has ended. Default 10 s.
    ///
    /// `disconnect` may take as long.
    pub fn disconnect_grace(mut self, time: Duration) -> Self {
        self.disconnect_grace = time;
        self
    }

    /// The limits of HTTP exchanges: no pings, no waiting for messages, and no part of a body is dropped.
    pub(crate) fn of_exchanges(&self) -> Self {
        Self {
            overflow: Overflow::Close,
            ping_interval: None,
            pong_timeout: None,
            idle_timeout: None,
            // The client may read the rest as slowly as it has read before.
            close_timeout: self.write_timeout.unwrap_or(Ticks(u32::MAX / 2)),
            ..self.clone()
        }
    }

    /// How long the body of a request may take to arrive, before the time for its length is added.
    pub(crate) fn body_timeout(&self) -> Option<Duration> {
        self.frame_timeout.map(|timeout| Ticks::LENGTH * timeout.0)
    }

    /// How many groups one connection may be in at once. Default 1,024.
    pub fn groups(mut self, count: usize) -> Self {
        self.groups = count;
        self
    }

    /// How many tasks of [`Context::spawn`](crate::ConnectionContext::spawn), timers and
    /// [later answers](crate::Answer::later) may run at once. Default 128.
    pub fn tasks(mut self, count: usize) -> Self {
        self.tasks = count;
        self
    }
}
