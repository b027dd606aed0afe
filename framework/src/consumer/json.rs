//! Consumers whose input is a serde type.
/// stub
pub trait JsonConsumer {}
