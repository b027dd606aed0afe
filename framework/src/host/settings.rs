//! The settings that a mount and a server share.

use super::{Mount, Server};
use crate::{
    Fallback, Layer, Limits,
    consumer::connection::peers::Peers,
    groups::{budget::Budget, drain::Drain},
    layers::DEFAULT_LAYER,
    transport::fallback::table::SessionTable,
};

/// Gives each setting to [`Mount`] and to [`Server`], with the same name and the same docs.
///
/// A setting is written once, as a change of the mount. So both hosts always have the same settings.
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
    /// The layer of all consumers that name no other layer. Default: a new [`MemoryLayer`](crate::MemoryLayer).
    fn layer(mount, layer: impl Into<Layer>) {
        mount.layers.insert(DEFAULT_LAYER.to_owned(), layer.into());
    }

    /// A layer with an alias, for consumers with that [`LAYER`](crate::Consumer::LAYER).
    fn layer_as(mount, alias: impl Into<String>, layer: impl Into<Layer>) {
        mount.layers.insert(alias.into(), layer.into());
    }

    /// The limits of all routes that do not set their own.
    fn limits(mount, limits: Limits) {
        mount.limits = limits;
    }

    /// How many connections there may be at once. Default 100,000.
    ///
    /// Further ones are answered 503 with `Retry-After`. The connections of all mounts with the same [`Drain`] count, and
    /// so do requests that are still in the middleware or in `connect`.
    /// Each connection also needs a file descriptor: raise the limit of the process (`ulimit -n`).
    fn max_connections(mount, count: usize) {
        mount.max_connections = count;
    }

    /// How many bytes may wait in the outboxes of all connections together. Default 256 MiB.
    ///
    /// If more than 64 KiB of a client's messages wait for a hook, inflated, they count too.
    ///
    /// If more bytes wait, the thread that holds most closes the connections with the largest outboxes, with 1013,
    /// until a sixteenth of the budget is free again. Each frame counts 32 bytes more, for its place in the queue. It
    /// counts for every outbox in which it waits, although the members of a group share its bytes. Each thread may hold
    /// 64 KiB more than the others know of.
    fn outbox_budget(mount, bytes: usize) {
        mount.budget = Budget::new(bytes);
    }

    /// How many connections one client address may have at once. The default, `None`, allows any number.
    ///
    /// Further handshakes are refused with 429. The address is the one in the scope. Behind a proxy, all clients have
    /// the address of the proxy, unless [`TrustedProxies`](crate::middleware::TrustedProxies) put the right one there.
    /// An IPv6 network of 64 bits counts as one client. On a Unix socket nothing is counted.
    fn connections_per_peer(mount, count: impl Into<Option<usize>>) {
        mount.peers = count.into().map(Peers::new);
    }

    /// Serves clients without a WebSocket. A [`Server`] does so by default, with [`Fallback::new`].
    ///
    /// A [`Mount`] in an App of yours does so only if this is called. [`Fallback::off`] turns it off.
    fn fallback(mount, settings: Fallback) {
        mount.fallback = Some(SessionTable::new(settings));
    }

    /// The drain that ends these connections. Default: [`Drain::process`], which [`run`](crate::run) uses.
    fn drain(mount, drain: Drain) {
        mount.drain = drain;
    }

    /// Serves the [JavaScript client](crate::docs::browser) at this path. A [`Server`] does so by default, at
    /// `/greenroom.js`.
    ///
    /// A [`Mount`] in an App of yours does so only if this is called: `.script("/greenroom.js")`. `None` leaves it out.
    fn script<'a>(mount, path: impl Into<Option<&'a str>>) {
        mount.script = Some(path.into().map(str::to_owned));
    }
}
