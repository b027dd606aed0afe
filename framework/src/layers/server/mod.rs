//! The part that is the same in all layers on a server.
//!
//! [`ServerLayer`] is the layer. A backend adds a [`Driver`](driver::Driver), which speaks with its kind of
//! server, and the settings that only this kind needs.

mod away;
pub(super) mod config;
mod delivery;
pub(super) mod driver;
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "Redis needs more of it than NATS"))]
pub(super) mod inbound;
pub(super) mod layer;
pub(super) mod members;
pub(super) mod outage;
#[cfg(feature = "redis")]
pub(super) mod refusal;
pub(super) mod shared;
pub(super) mod status;
#[cfg(test)]
mod tests;

pub use self::{away::Away, config::ServerConfig, layer::ServerLayer};
