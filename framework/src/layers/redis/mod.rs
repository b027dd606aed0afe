//! Layers on Redis, for more than one process, and for Django (feature `redis`).

mod codec;
mod config;
mod names;

pub use self::config::{Away, RedisConfig, RedisConfigError};
