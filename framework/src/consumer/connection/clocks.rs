//! When what happened last on a connection.

use std::cell::Cell;

/// In which tick what happened last; 0 for never.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Anything was read.
    pub(super) read: Cell<u32>,
    /// A whole message was read.
    pub(super) message: Cell<u32>,
    /// The unfinished message began.
    pub(super) frame: Cell<u32>,
    /// A ping was sent, or once the connection closes, the close frame.
    pub(super) sent: Cell<u32>,
    /// Whether the wheel asks for a look.
    pub(super) due: Cell<bool>,
    /// Whether the socket is not read, the read-ahead being used up.
    pub(super) stopped: Cell<bool>,
}
