//! What reads from clients into connections: a WebSocket's reader, and the sessions of clients without one.

pub(crate) mod fallback;
pub(crate) mod reader;
