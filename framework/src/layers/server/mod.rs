//! What the layers on a server have in common, whichever server it is.

mod away;
pub(super) mod inbound;
pub(super) mod status;

pub use self::away::Away;
