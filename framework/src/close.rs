//! Close codes, and how a connection ended.

use bytestring::ByteString;

/// A close code of RFC 6455, section 7.4, or of the application (3000 to 4999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

/// How a connection ended: given to [`Consumer::disconnect`](crate::Consumer::disconnect).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnect {
    /// The close code (rule 13).
    pub code: CloseCode,
    /// The reason that the closing side gave, empty where none.
    pub reason: ByteString,
    /// Who or what ended it.
    pub cause: Cause,
}

/// Who or what ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The client sent a close frame.
    Client,
    /// The consumer closed it, or asked to stop.
    Consumer,
    /// A hook failed or panicked.
    Error,
    /// The socket ended without a close frame.
    Gone,
    /// The client broke the protocol or a limit.
    Protocol,
    /// The connection was never accepted.
    Rejected,
    /// The server is shutting down.
    Shutdown,
    /// The client read too slowly ([`Overflow::Close`](crate::Overflow::Close)).
    TooSlow,
}
