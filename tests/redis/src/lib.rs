//! What the tests on Redis share: servers, Python processes with channels_redis, and the chat as a process.

mod chat;
pub mod cli;
pub mod kinds;
mod python;
mod recorder;
mod server;
mod tls;

pub use conformance_tests::faulty::{
    Member, Note, Proxy, ServerProcess, Slow, eventually, free_port, group, is_away, note,
};

pub use self::{
    chat::{Chat, Page, assert_clocks_change_nothing, program},
    python::Python,
    recorder::Recorder,
    server::RedisServer,
    tls::Certificate,
};
