//! A layer on NATS, for several processes (feature `nats`).
//!
//! [NATS](crate::docs::nats) says when to take it, what it promises, and which subjects it uses.

mod answer;
mod config;
mod expected;
mod fate;
mod jetstream;
mod layer;
mod link;
mod log;
mod logged;
mod readers;
mod requests;
mod shared;
mod subjects;
mod thread;
mod work;

pub use self::{
    config::{NatsConfig, NatsConfigError},
    jetstream::JetStream,
    layer::NatsLayer,
};
pub use super::Away;
