//! History: the events that a group keeps, and how a member comes back to its place among them.

pub(crate) mod entry;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod file;
pub(crate) mod log;
pub(crate) mod logs;
pub(crate) mod lost;
pub(crate) mod policy;
pub(crate) mod position;
pub(crate) mod reader;
pub(crate) mod since;
pub(crate) mod store;
pub(crate) mod token;
