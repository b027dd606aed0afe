//! The marked form of a connection: each message says where it stands in a log, and client and server also exchange
//! control frames. Only a client that asks for it gets it.
//!
//! Reading order:
//! - [`down`] has what comes before a message to a client. [`control`] has the frames that are no messages.
//! - [`up`] reads what a client sends, and [`resume`] its request to go on where it was.
//!
//! Groups are numbers and short texts here. What they stand for is known above this folder.

pub(crate) mod control;
pub(crate) mod down;
pub(crate) mod resume;
pub(crate) mod up;

pub(crate) use self::down::{At, Head};
