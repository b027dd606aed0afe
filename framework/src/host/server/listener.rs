//! The listeners of a server, and the sockets that they accept.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::wire::socket::Socket;

/// A listener, with its TLS if it has any.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(feature = "rustls")]
    Tls(TcpListener, tokio_rustls::TlsAcceptor),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, _) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        match self {
            #[cfg(feature = "rustls")]
            Self::Tls(..) => true,
            _ => false,
        }
    }

    /// Sets how many clients may wait to be accepted, and makes the listener non-blocking.
    pub(super) fn prepare(&self, backlog: i32) -> io::Result<()> {
        let socket = match self {
            Self::Tcp(listener) => SockRef::from(listener),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, _) => SockRef::from(listener),
            #[cfg(unix)]
            Self::Unix(listener) => SockRef::from(listener),
        };
        socket.listen(backlog)?;
        socket.set_nonblocking(true)
    }

    /// The same listener, for another thread.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, acceptor) => Self::Tls(listener.try_clone()?, acceptor.clone()),
            #[cfg(unix)]
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// Opens the listener on this thread.
    pub(super) fn open(self) -> io::Result<OpenListener> {
        Ok(match self {
            Self::Tcp(listener) => OpenListener::Tcp(tokio::net::TcpListener::from_std(listener)?),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, acceptor) => {
                OpenListener::Tls(tokio::net::TcpListener::from_std(listener)?, acceptor)
            }
            #[cfg(unix)]
            Self::Unix(listener) => OpenListener::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }
}

/// A listener that one thread has opened.
pub(super) enum OpenListener {
    Tcp(tokio::net::TcpListener),
    #[cfg(feature = "rustls")]
    Tls(tokio::net::TcpListener, tokio_rustls::TlsAcceptor),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl OpenListener {
    pub(super) async fn accept(&self) -> io::Result<AcceptedSocket> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                AcceptedSocket::Tcp(socket, peer)
            }
            #[cfg(feature = "rustls")]
            Self::Tls(listener, acceptor) => {
                let (socket, peer) = listener.accept().await?;
                AcceptedSocket::Tls(socket, peer, acceptor.clone())
            }
            #[cfg(unix)]
            Self::Unix(listener) => AcceptedSocket::Unix(listener.accept().await?.0),
        })
    }
}

/// A socket that was accepted, before its TLS handshake.
pub(super) enum AcceptedSocket {
    Tcp(TcpStream, SocketAddr),
    #[cfg(feature = "rustls")]
    Tls(TcpStream, SocketAddr, tokio_rustls::TlsAcceptor),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// A socket on its way to another thread.
pub(super) enum HandedSocket {
    Tcp(std::net::TcpStream, SocketAddr),
    #[cfg(feature = "rustls")]
    Tls(std::net::TcpStream, SocketAddr, tokio_rustls::TlsAcceptor),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl AcceptedSocket {
    pub(super) fn into_raw(self) -> io::Result<HandedSocket> {
        Ok(match self {
            Self::Tcp(socket, peer) => HandedSocket::Tcp(socket.into_std()?, peer),
            #[cfg(feature = "rustls")]
            Self::Tls(socket, peer, acceptor) => HandedSocket::Tls(socket.into_std()?, peer, acceptor),
            #[cfg(unix)]
            Self::Unix(socket) => HandedSocket::Unix(socket.into_std()?),
        })
    }

    pub(super) fn from_raw(raw: HandedSocket) -> io::Result<Self> {
        Ok(match raw {
            HandedSocket::Tcp(socket, peer) => Self::Tcp(TcpStream::from_std(socket)?, peer),
            #[cfg(feature = "rustls")]
            HandedSocket::Tls(socket, peer, acceptor) => {
                Self::Tls(TcpStream::from_std(socket)?, peer, acceptor)
            }
            #[cfg(unix)]
            HandedSocket::Unix(socket) => Self::Unix(tokio::net::UnixStream::from_std(socket)?),
        })
    }

    /// The socket for HTTP, after the TLS handshake if there is one. `None` if that failed, or took longer than
    /// `limit`.
    #[cfg_attr(not(feature = "rustls"), expect(unused_variables, clippy::unused_async, reason = "for TLS"))]
    pub(super) async fn begin(self, limit: Duration) -> Option<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket, peer) => {
                set_nodelay(&socket);
                Some((Socket::Tcp(socket), Some(peer)))
            }
            #[cfg(feature = "rustls")]
            Self::Tls(socket, peer, acceptor) => {
                set_nodelay(&socket);
                let socket = crate::time::timeout(limit, acceptor.accept(socket))
                    .await
                    .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
                    .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
                    .ok()?;
                Some((Socket::Tls(Box::new(socket)), Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix(socket) => Some((Socket::Unix(socket), None)),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => f.debug_tuple("Tcp").field(listener).finish(),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, _) => f.debug_tuple("Tls").field(listener).finish(),
            #[cfg(unix)]
            Self::Unix(listener) => f.debug_tuple("Unix").field(listener).finish(),
        }
    }
}

/// Binds every address of a name.
pub(super) fn bind(addresses: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses.to_socket_addrs()? {
        let listener = TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        listeners.push(listener);
    }
    if listeners.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name has no address to listen on"));
    }
    Ok(listeners)
}

/// Binds a Unix socket. A file that an ended server has left is replaced.
#[cfg(unix)]
pub(super) fn bind_unix(path: &std::path::Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::{
        fs::FileTypeExt as _,
        net::{UnixListener, UnixStream},
    };
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A file that is not a socket refuses connections too, and must not be removed.
            let dead = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
                && UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !dead {
                return Err(failed(error));
            }
            std::fs::remove_file(path).map_err(failed)?;
            UnixListener::bind(path).map_err(failed)
        }
        bound => bound.map_err(failed),
    }
}

/// Turns off Nagle's algorithm, which would hold small frames back for up to 40 ms.
fn set_nodelay(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY for a socket: small frames may be late");
    }
}
