//! Layers on Redis, for more than one process, and for Django (feature `redis`).
//!
//! [Redis](crate::docs::redis) says which to take, what must be the same on both sides, and what is promised.

mod codec;
mod config;
mod core;
mod demand;
mod echoes;
mod inbound;
mod link;
mod members;
mod names;
mod pubsub;
mod reader;
mod shared;
mod thread;
mod topics;
mod writer;

pub use self::{
    config::{RedisConfig, RedisConfigError},
    core::RedisLayer,
    pubsub::RedisPubSubLayer,
};
pub use super::Away;
use super::server::status;
