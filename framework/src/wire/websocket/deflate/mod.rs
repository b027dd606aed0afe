//! permessage-deflate (RFC 7692): compressed messages, in both directions, without any I/O.
//!
//! Reading order: [`settings`] has the settings of a route, and [`negotiate`] agrees with a client on them.
//! [`compress`] is for messages to the client, [`inflate`] for messages from it.
//!
//! By default there is no context takeover. Then a connection owns neither a compressor nor an inflater: both belong
//! to the thread, and serve one message after the other.

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

/// The bytes that a sender takes off the end of each message, and a receiver puts back.
///
/// They are the rest of the empty block that flushes the compressor (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
