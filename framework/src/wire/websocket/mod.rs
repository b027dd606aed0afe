//! WebSocket (RFC 6455): the handshake, and frames without any I/O.
//!
//! Reading order:
//! - [`handshake`] answers the upgrade request.
//! - [`chunk`] holds bytes that arrived. [`decode`] makes [`Item`]s of them, by the rules of [`frame`] and [`utf8`].
//! - [`encode`] makes the bytes that leave.
//! - [`error`] lists how a client can break the protocol, with a close code for each way.
//! - [`extensions`] reads what a client offers. [`deflate`], compression, is the only extension that is accepted.

mod chunk;
mod decode;
pub(crate) mod deflate;
pub(crate) mod encode;
mod error;
pub(crate) mod extensions;
mod frame;
pub(crate) mod handshake;
mod utf8;

#[cfg(any(test, feature = "testing"))]
pub(crate) use self::frame::Opcode;
pub(crate) use self::{
    chunk::Chunk,
    decode::{Decoder, DecoderSettings, Item},
    error::ProtocolError,
    frame::Role,
};
