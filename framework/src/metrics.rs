//! Counts what was lost and which connections were closed, with one counter for each cause.
//!
//! [`Layer::metrics`](crate::Layer::metrics) reads the counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one layer, since it was made.
        ///
        /// The [guide](crate::docs::guide#layer) has an example.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Metrics {
                Metrics { $($name: self.$name.0.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// WebSocket handshakes that were malformed, and were refused.
    bad_handshake,
    /// Messages, bodies, paths, query strings and credentials that a consumer could not read.
    ///
    /// A hook ended with an [`InputError`](crate::error::InputError), or with a [`ScopeError`](crate::scope::ScopeError)
    /// that is the client's fault.
    bad_input,
    /// Requests whose HTTP is malformed, on the sockets of a [`Server`](crate::Server). Its default layer counts them.
    bad_request,
    /// Connections whose socket was closed because the client did not read or answer the close frame
    /// ([`close_timeout`](crate::Limits::close_timeout)).
    close_timeout,
    /// Messages that were compressed. A group's message counts once for each consumer type and window size.
    compressed,
    /// How many bytes the compressed messages had before.
    compressed_from_bytes,
    /// How many bytes the compressed messages had afterwards.
    compressed_to_bytes,
    /// Frames that a newer one of the same key replaced, under [`Overflow::Latest`](crate::Overflow::Latest).
    conflated,
    /// Frames that were encoded for a `#[relay]` handler: one for each event, consumer type and wire form.
    encoded,
    /// Messages that expired in a queue before anyone received them.
    expired,
    /// Connections on a fallback transport that ended with 1006, because no request came for too long
    /// ([`Fallback::expires`](crate::Fallback::expires)).
    fallback_expired,
    /// Connections closed with 1008, because a message took too long to arrive
    /// ([`frame_timeout`](crate::Limits::frame_timeout)).
    frame_timeout,
    /// Connections closed with 1000, because no message came for too long
    /// ([`idle_timeout`](crate::Limits::idle_timeout)).
    idle_timeout,
    /// Messages from a layer's server that were dropped, because too many waited for delivery in this process.
    inbound_full,
    /// Events that a full inbox refused (its consumer was suspended in a hook).
    inbox_full,
    /// Jobs that consumers of a [`Worker`](crate::Worker) took, however they ended.
    jobs,
    /// Jobs that still ran when the grace time of their stopping worker was over
    /// ([`Worker::grace`](crate::Worker::grace)).
    jobs_cancelled,
    /// Jobs whose handler returned an error or panicked.
    jobs_failed,
    /// Jobs that were cancelled because they took too long
    /// ([`JobLimits::timeout`](crate::worker::JobLimits::timeout)).
    jobs_timed_out,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the client named a place that the log does not have yet.
    lost_ahead,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the log had begun anew.
    lost_epoch,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the client was away for too long.
    lost_expired,
    /// Members of a group with [history](crate::history) that were told that events may be missing: an event had come from a program that does not add its events to the log.
    lost_foreign,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the client's proof of its place was not made by this layer for it.
    lost_forged,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the client did not name its place in time.
    lost_late,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the layer's server had lost its newest entries.
    lost_rollback,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the client named too many places.
    lost_too_many,
    /// Members of a group with [history](crate::history) that were told that events may be missing: the log no longer had all that the member had missed.
    lost_trimmed,
    /// Members of a group with [history](crate::history) that were told that events may be missing: events had been delivered that are in no log, or the layer's server could not be read.
    lost_unlogged,
    /// Connections closed with 1008, because the client sent too many messages
    /// ([`message_rate`](crate::Limits::message_rate)).
    message_rate,
    /// Frames that a full outbox dropped, under [`Overflow::DropNewest`](crate::Overflow), `DropOldest` or `Latest`.
    outbox_full,
    /// Connections closed with 1013, because all outboxes together held too much
    /// ([`Mount::outbox_budget`](crate::Mount::outbox_budget)).
    over_budget,
    /// Connections closed with 1011, because nothing came after a ping
    /// ([`pong_timeout`](crate::Limits::pong_timeout)).
    pong_timeout,
    /// WebSockets that were closed with 1002, 1007 or 1009, because the client sent a bad frame or too large a message.
    protocol_error,
    /// Messages that a full queue refused.
    queue_full,
    /// How often a layer lost a server and reached it again. If it has several servers, each counts.
    reconnected,
    /// Members that have come back to a group with [history](crate::history), and got all that they had missed.
    recovered,
    /// Events whose `#[relay]` handler panicked or failed.
    relay_failed,
    /// Batches of a fallback transport that were sent again, because their client had not acknowledged them.
    resent,
    /// Rooms that ended because a closure or a hook of theirs panicked.
    room_panics,
    /// Ticks of rooms that were left out, because the one before was not done in time.
    room_ticks_skipped,
    /// Events of rooms that the layer did not take.
    room_unsent,
    /// Joins that were refused because there are as many rooms as there may be ([`Rooms::limit`](crate::Rooms::limit)).
    rooms_full,
    /// Messages from a layer's server for a channel or group that this process does not have, or no longer has.
    stray,
    /// Connections closed with 1013, because their outbox was full.
    too_slow,
    /// Requests refused with 503, because the server has as many connections as it may have
    /// ([`Mount::max_connections`](crate::Mount::max_connections),
    /// [`Fallback::max_connections`](crate::Fallback::max_connections)).
    too_many,
    /// Handshakes refused with 429, because their peer has too many connections
    /// ([`Mount::connections_per_peer`](crate::Mount::connections_per_peer),
    /// [`Fallback::connections_per_peer`](crate::Fallback::connections_per_peer)).
    too_many_of_peer,
    /// Messages from a layer's server that could not be read: damaged, or written with another serializer or key.
    undecodable,
    /// Events and jobs for which a consumer has no handler, or whose fields do not fit its handler.
    unhandled,
    /// Events that members in other processes missed, because a layer's server was away or refused them.
    unpublished,
    /// Deliveries that a thread could not take before the deadline, because its queue was full.
    thread_behind,
    /// Connections closed with 1013, because the client read nothing for too long
    /// ([`write_timeout`](crate::Limits::write_timeout)).
    write_timeout,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }
}
