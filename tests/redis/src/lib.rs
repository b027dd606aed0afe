//! Redis servers of the tests' own.

pub mod python;
mod server;

pub use self::server::RedisServer;
