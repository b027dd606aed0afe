//! WebSocket (RFC 6455): the handshake, and frames without any I/O.
//!
//! Reading order: [`handshake`] answers the upgrade request; [`chunk`] is what arrived; [`decode`] makes
//! [`Item`]s of it by the rules of [`frame`] and [`utf8`]; [`encode`] makes the bytes that leave;
//! [`error`] is how a client can break the protocol, and the
//! close code for it. [`extensions`] are what a client offers, and [`deflate`] is the one that is taken: compression.

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
