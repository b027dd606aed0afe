//! The socket of a connection: TCP, Unix or TLS. Reads can wait, writes take only what fits at once.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A socket of a client.
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    #[cfg(feature = "rustls")]
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// A socket whose client sent bytes behind its handshake, before the answer. They are read first.
    Ahead(Box<(Bytes, Socket)>),
}

impl Socket {
    /// Puts bytes that were read already in front of what the socket reads.
    pub(crate) fn with_ahead(self, ahead: Bytes) -> Self {
        if ahead.is_empty() { self } else { Self::Ahead(Box::new((ahead, self))) }
    }

    /// Writes what the socket takes at once. [`io::ErrorKind::WouldBlock`] if that is nothing.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write(bytes),
            #[cfg(feature = "rustls")]
            Self::Tls(socket) => at_once(|cx| Pin::new(socket).poll_write(cx, bytes)),
            Self::Ahead(ahead) => ahead.1.try_write(bytes),
        }
    }

    /// Writes several slices, as [`try_write`](Self::try_write) does.
    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(socket) => socket.try_write_vectored(slices),
            #[cfg(feature = "rustls")]
            Self::Tls(socket) => at_once(|cx| Pin::new(socket).poll_write_vectored(cx, slices)),
            Self::Ahead(ahead) => ahead.1.try_write_vectored(slices),
        }
    }

    /// Writes what the socket itself still holds, without waiting. Only TLS holds anything: its records.
    pub(crate) fn try_flush(&mut self) -> io::Result<()> {
        match self {
            #[cfg(feature = "rustls")]
            Self::Tls(socket) => at_once(|cx| Pin::new(socket).poll_flush(cx)),
            Self::Ahead(ahead) => ahead.1.try_flush(),
            _ => Ok(()),
        }
    }

    /// Whether the socket can be dropped after the last byte. TLS has to send its end first.
    pub(crate) fn ends_when_dropped(&self) -> bool {
        match self {
            #[cfg(feature = "rustls")]
            Self::Tls(_) => false,
            Self::Ahead(ahead) => ahead.1.ends_when_dropped(),
            _ => true,
        }
    }

    /// Waits until the socket may take more.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            #[cfg(unix)]
            Self::Unix(socket) => socket.poll_write_ready(cx),
            #[cfg(feature = "rustls")]
            Self::Tls(socket) => socket.get_ref().0.poll_write_ready(cx),
            Self::Ahead(ahead) => ahead.1.poll_writable(cx),
        }
    }

    /// Reads into `buffer`; `Ok(0)` at the end.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Polls once without a waker. If the socket is blocked, the caller waits with [`Socket::poll_writable`].
#[cfg(feature = "rustls")]
fn at_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Ahead(ahead) = &mut *self {
            if ahead.0.is_empty() {
                return Pin::new(&mut ahead.1).poll_read(cx, buffer);
            }
            let count = ahead.0.len().min(buffer.remaining());
            buffer.put_slice(&ahead.0[..count]);
            ahead.0.advance(count);
            return Poll::Ready(Ok(()));
        }
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            #[cfg(unix)]
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
            #[cfg(feature = "rustls")]
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Ahead(_) => Poll::Ready(Ok(())),
        }
    }
}

/// Calls a method of the socket, whatever its kind.
macro_rules! of_any {
    ($self:ident, $socket:ident => $call:expr) => {
        match &mut *$self {
            Socket::Tcp($socket) => $call,
            #[cfg(unix)]
            Socket::Unix($socket) => $call,
            #[cfg(feature = "rustls")]
            Socket::Tls($socket) => $call,
            Socket::Ahead(ahead) => {
                let $socket = &mut ahead.1;
                $call
            }
        }
    };
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        of_any!(self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_any!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_any!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            #[cfg(unix)]
            Self::Unix(_) => "Unix",
            #[cfg(feature = "rustls")]
            Self::Tls(_) => "Tls",
            Self::Ahead(_) => "Ahead",
        })
    }
}
