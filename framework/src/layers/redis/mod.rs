//! Layers on Redis, for several processes, and for Django (feature `redis`).
//!
//! [Redis](crate::docs::redis) says which layer to take, which settings must be the same on both sides, and
//! what the layers promise.

mod batch;
mod codec;
mod config;
mod core;
mod demand;
mod echoes;
mod flush;
mod hello;
mod hosts;
mod known;
mod leaving;
mod link;
mod listening;
mod log;
mod logged;
mod membership;
mod names;
mod publication;
mod publisher;
mod pubsub;
mod queue;
mod reader;
mod replies;
mod sentinel;
mod state;
mod subscriber;
mod taking;
mod thread;
mod told;
mod topics;
mod writer;

pub use self::{
    config::{Names, RedisConfig, RedisConfigError},
    core::RedisLayer,
    pubsub::RedisPubSubLayer,
};
pub use super::server::Away;
