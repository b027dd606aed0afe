//! The wires that consumers are reached by. Nothing above this module knows which one it is on.

pub(crate) mod limits;
pub(crate) mod websocket;
