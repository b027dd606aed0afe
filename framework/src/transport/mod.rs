//! The code that reads from clients into connections.
//!
//! It consists of the readers of WebSockets, and the sessions of clients without a WebSocket.

pub(crate) mod fallback;
pub(crate) mod reader;
