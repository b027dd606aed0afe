//! What the layers on a server have in common, whichever server it is.

mod away;
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "Redis needs more of it than NATS"))]
pub(super) mod inbound;
pub(super) mod members;
pub(super) mod status;

pub use self::away::Away;
