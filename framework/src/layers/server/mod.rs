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

/// Why a send failed whose event was in the log, or was not: its answer is lost, and more has followed than the log keeps.
pub(super) const NOBODY_KNOWS: &str = "the connection was lost before there was an answer, and the log does not reach back so \
                                       far any more: nobody knows whether the event was in it";

pub use self::{away::Away, config::ServerConfig, layer::ServerLayer};
