//! Redis servers of the tests' own, Python processes with channels_redis, and the chat as a process.

mod chat;
pub mod cli;
mod python;
mod server;

pub use conformance_tests::faulty::{
    Member, Note, Proxy, ServerProcess, Slow, eventually, free_port, group, is_away, note,
};

pub use self::{
    chat::{Chat, Page, program},
    python::Python,
    server::RedisServer,
};

use conformance_tests::faulty::{Logins, Settings};
use greenroom::layers::{Away, redis::RedisConfig};

/// Who may connect to [`RedisServer::guarded`].
pub const LOGINS: Logins = Logins {
    guest: ":right@",
    strangers: &["", ":wrong@"],
    denied: &["uthentication", "NOAUTH", "WRONGPASS"],
};

/// The configuration with these settings.
pub fn configured(settings: Settings) -> RedisConfig {
    RedisConfig::new(settings.url("redis"))
        .away(if settings.must { Away::Error } else { Away::Local })
        .timeout(settings.timeout)
        .queue_bytes(settings.queue_bytes)
}
