//! Groups: which connections are in them, and how one event reaches all members.
//!
//! This is the only hot path. Only the waits at its bounds are `async`.
//!
//! Each thread has a [`hub`], which holds the thread's connections as [`Member`](member::Member)s and its part of every
//! group. The process-wide [`directory`] knows only which threads have members of a group, and of which classes.
//! [`publish`] looks up the group, makes the bytes of each class once ([`fan_out`]), and hands them to every thread
//! that has members. Its own hub gets them at once, the others through their bounded [`queue`]s. If an inbox is full,
//! the sender waits for [`room`]. A large group is served in [`slices`], by a [`walk`]. The module [`thread`] has the
//! tasks that a thread runs beside its connections.

mod append;
mod behind;
pub(crate) mod budget;
mod catching_up;
#[cfg(feature = "testing")]
pub(crate) mod census;
pub(crate) mod changes;
pub(crate) mod config;
pub(crate) mod directory;
pub(crate) mod drain;
pub(crate) mod error;
pub(crate) mod except;
pub(crate) mod fan_out;
mod headroom;
pub(crate) mod history;
pub(crate) mod hub;
mod hub_logs;
pub(crate) mod hubs;
pub(crate) mod inbox;
pub(crate) mod key;
pub(crate) mod later;
mod load;
mod local_log;
pub(crate) mod member;
#[cfg(all(test, shuttle))]
mod model;
pub(crate) mod outbox;
pub(crate) mod pace;
mod publish;
pub(crate) mod queue;
pub(crate) mod queues;
mod relief;
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) mod server_log;
mod slices;
pub(crate) mod thread;
mod walk;
pub(crate) mod wheel;

/// How far an event got. Returned by [`Layer::group_send_counted`](crate::Layer::group_send_counted).
///
/// The [guide](crate::docs::guide#layer) has an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// How many inboxes, outboxes and queues took the event.
    pub delivered: u64,
    /// How many refused the event, because they were full or because the relay failed.
    pub dropped: u64,
    /// How many threads did not take the event in time. Their members are in neither of the other numbers.
    pub threads_behind: u64,
}

impl Delivery {
    /// Counts one member, which took the event or refused it.
    pub(crate) fn note(&mut self, taken: bool) {
        if taken { self.delivered += 1 } else { self.dropped += 1 }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.threads_behind += other.threads_behind;
    }
}
