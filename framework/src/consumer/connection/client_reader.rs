//! What reads a connection's client.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use super::Connection;

/// The input side of a transport: reads the client's messages into the connection.
///
/// Polled by the connection's task, before and after its hooks; it must not call user code.
pub(crate) trait ClientReader {
    /// Reads as far as the connection takes more. `Ready`: nothing more will be read.
    fn poll_read(&mut self, cx: &mut Context<'_>, connection: &Rc<Connection>) -> Poll<()>;

    /// How many bytes of an unfinished message have arrived.
    fn held(&self) -> usize;
}
