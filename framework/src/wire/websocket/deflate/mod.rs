//! permessage-deflate (RFC 7692): compressed messages, in both directions, without any I/O.
//!
//! Reading order: [`settings`] is what a route wants, [`negotiate`] what its clients may have of it; [`compress`] is
//! for what leaves, [`inflate`] for what arrives.
//!
//! Without context takeover, the default, nothing here belongs to a connection: compressors and inflaters are the
//! worker's, and a message has one only while it is under way.

mod compress;
mod inflate;
mod negotiate;
mod settings;

pub(crate) use self::{
    compress::{CompressParams, Packer},
    inflate::{InflateParams, Inflater},
    negotiate::{DeflateOffer, settle},
};
pub use settings::Deflate;

/// What a sender takes off the end of each message, and a receiver puts back (section 7.2.1): the rest of the empty
/// block that flushes the compressor.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
