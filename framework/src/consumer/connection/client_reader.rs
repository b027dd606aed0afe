//! The trait of what reads from a connection's client.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use super::Connection;

/// The input side of a transport. It reads the client's messages into the connection.
///
/// The connection's task polls it before and after the hooks. It must not call user code.
pub(crate) trait ClientReader {
    /// Reads as long as the connection takes more. `Ready` means that nothing more will be read.
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()>;

    /// How many bytes of an unfinished message have arrived.
    fn held(&self) -> usize;
}
