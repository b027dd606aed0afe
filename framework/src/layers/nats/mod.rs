//! A layer on NATS, for more than one process (feature `nats`).
//!
//! [NATS](crate::docs::nats) says when to take it, what is promised, and under which subjects what is found.

mod answer;
mod config;
mod fate;
mod layer;
mod link;
mod readers;
mod shared;
mod subjects;
mod thread;
mod work;

pub use self::{
    config::{NatsConfig, NatsConfigError},
    layer::NatsLayer,
};
pub use super::Away;
