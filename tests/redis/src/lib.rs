//! What the tests on Redis share: servers, Python processes with channels_redis, and the chat as a process.

mod chat;
pub mod cli;
pub mod kinds;
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
