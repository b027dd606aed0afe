//! What was lost and why: one counter a cause, read with [`Layer::metrics`](crate::Layer::metrics).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one layer, since it was made.
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
    /// Messages that were compressed: those of a group once an event, consumer type and window size, others one each.
    compressed,
    /// How many bytes they had before.
    compressed_from_bytes,
    /// How many bytes they had then.
    compressed_to_bytes,
    /// Frames that were encoded for a `#[relay]` handler: one an event, consumer type and wire form.
    encoded,
    /// Messages that expired in a queue before anyone received them.
    expired,
    /// Events that a full inbox refused (its consumer was suspended in a hook).
    inbox_full,
    /// Frames that a full outbox dropped, under [`Overflow::DropNewest`](crate::Overflow) or `DropOldest`.
    outbox_full,
    /// Messages that a full queue refused.
    queue_full,
    /// Events whose `#[relay]` handler panicked or failed.
    relay_failed,
    /// Connections closed with 1013, because their outbox was full.
    too_slow,
    /// Events for which a consumer has no handler, or whose fields did not fit it.
    unhandled,
    /// Deliveries that a worker could not take before the deadline, its queue being full.
    worker_behind,
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
