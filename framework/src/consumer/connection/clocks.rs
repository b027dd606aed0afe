//! When things last happened on a connection.

use std::cell::Cell;

/// The tick in which each thing last happened; 0 for never.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Anything was read.
    pub(super) read: Cell<u32>,
    /// A whole message was read.
    pub(super) message: Cell<u32>,
    /// The unfinished message began.
    pub(super) frame: Cell<u32>,
    /// A ping was sent or, if the connection is closing, the close frame.
    pub(super) sent: Cell<u32>,
    /// Whether the wheel asks for a look.
    pub(super) due: Cell<bool>,
    /// Whether the socket is not read because the read-ahead is full.
    pub(super) stopped: Cell<bool>,
}
