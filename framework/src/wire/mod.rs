//! The bytes between a client and a connection: formats, limits and sockets. Nothing in this folder knows a connection.

pub(crate) mod batch;
pub(crate) mod encoded;
mod form;
pub(crate) mod history;
pub(crate) mod limits;
pub(crate) mod rate;
pub(crate) mod socket;
pub(crate) mod token;
pub(crate) mod websocket;

pub use self::form::Transport;
pub(crate) use self::form::{Packet, Wire};
