//! What consumers run with: the settings that a mount and a server share.

use super::{Mount, Server};
use crate::{
    Fallback, Layer, Limits,
    consumer::connection::peers::Peers,
    groups::{budget::Budget, drain::Drain},
    layers::DEFAULT_LAYER,
    transport::fallback::table::Table,
};

/// Gives each setting to [`Mount`] and to [`Server`], with the same name and the same docs.
///
/// A setting is written once, as a change of the mount. So neither host can lack what the other has.
macro_rules! settings {
    ($(
        $(#[$doc:meta])*
        fn $name:ident $(<$lifetime:lifetime>)? ($mount:ident $(, $argument:ident: $type:ty)+) $change:block
    )+) => {
        impl Mount {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name $(<$lifetime>)? (mut self $(, $argument: $type)+) -> Self {
                    let $mount = &mut self;
                    $change
                    self
                }
            )+
        }

        impl Server {
            $(
                $(#[$doc])*
                pub fn $name $(<$lifetime>)? (mut self $(, $argument: $type)+) -> Self {
                    self.mount = self.mount.$name($($argument),+);
                    self
                }
            )+
        }
    };
}

settings! {
    /// The layer of all consumers that name no other. Default: a [`MemoryLayer`](crate::MemoryLayer) of the mount's own.
    fn layer(mount, layer: impl Into<Layer>) {
        mount.layers.insert(DEFAULT_LAYER.to_owned(), layer.into());
    }

    /// A layer under an alias, for consumers with that [`LAYER`](crate::Consumer::LAYER).
    fn layer_as(mount, alias: impl Into<String>, layer: impl Into<Layer>) {
        mount.layers.insert(alias.into(), layer.into());
    }

    /// The limits of all routes that have none of their own.
    fn limits(mount, limits: Limits) {
        mount.limits = limits;
    }

    /// How many connections there may be at once; one more is answered 503 with `Retry-After`. Default 100,000.
    ///
    /// It counts those of all mounts with the same [`Drain`]. Each also needs a file descriptor: raise the process' limit
    /// (`ulimit -n`).
    fn max_connections(mount, count: usize) {
        mount.max_connections = count;
    }

    /// How many bytes may wait in the outboxes of all connections together. Default 256 MiB.
    ///
    /// If more bytes wait, the thread that holds most closes the connections with its largest outboxes, with 1013, until
    /// a sixteenth of the budget is free again. Each frame counts with 32 bytes more, for its place in the queue, and for
    /// every outbox that it waits in, although a group's members share its bytes. Each thread may be 64 KiB ahead of what
    /// the others know of it.
    fn outbox_budget(mount, bytes: usize) {
        mount.budget = Budget::new(bytes);
    }

    /// How many connections one client address may have at once; `None`, the default, for any number.
    ///
    /// A handshake beyond is refused with 429. The address is the one that
    /// [`TrustedProxies`](crate::middleware::TrustedProxies) leave in the scope, so behind a proxy set these, or all
    /// clients are one. An IPv6 network of 64 bits counts as one client; on a Unix socket nothing is counted.
    fn connections_per_peer(mount, count: impl Into<Option<usize>>) {
        mount.peers = count.into().map(Peers::new);
    }

    /// How clients without a WebSocket are served. Default: as [`Fallback::new`] says; [`Fallback::off`] for not at all.
    fn fallback(mount, settings: Fallback) {
        mount.fallback = Table::new(settings);
    }

    /// The drain that ends these connections. Default: [`Drain::process`], which [`run`](crate::run) uses.
    fn drain(mount, drain: Drain) {
        mount.drain = drain;
    }

    /// The path at which the [JavaScript client](crate::docs::browser) is served; `None` leaves it out. Default
    /// `/greenroom.js`.
    fn script<'a>(mount, path: impl Into<Option<&'a str>>) {
        mount.script = path.into().map(str::to_owned);
    }
}
