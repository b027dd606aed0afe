//! The listeners of a server, and the sockets that they accept.

#[cfg(unix)]
use std::sync::Arc;
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};

use socket2::SockRef;
use tokio::net::TcpStream;

#[cfg(unix)]
use super::unix::SocketFile;
use crate::wire::socket::Socket;

/// How many bytes the system keeps for a client beyond those that are on their way; its sockets have this from the listener.
///
/// It would keep 4 MiB, and take more only when a third of them has gone. A client that reads 20 kB a second would look for
/// a minute as if it read nothing, and a ping would be behind all of it. The rest waits in the outbox, which has a limit.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 << 10;

/// A listener, with its TLS if it has any.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(feature = "rustls")]
    Tls(TcpListener, tokio_rustls::TlsAcceptor),
    /// The first one is dropped first, so the file goes away while the socket still listens.
    #[cfg(unix)]
    Unix(Option<Arc<SocketFile>>, std::os::unix::net::UnixListener),
}

impl Listener {
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, _) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
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
            Self::Tcp(listener) => of_tcp(listener),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, _) => of_tcp(listener),
            #[cfg(unix)]
            Self::Unix(_, listener) => SockRef::from(listener),
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
            Self::Unix(file, listener) => Self::Unix(file.clone(), listener.try_clone()?),
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
            Self::Unix(file, listener) => {
                OpenListener::Unix(file, tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }
}

/// A listener that one thread has opened.
pub(super) enum OpenListener {
    Tcp(tokio::net::TcpListener),
    #[cfg(feature = "rustls")]
    Tls(tokio::net::TcpListener, tokio_rustls::TlsAcceptor),
    #[cfg(unix)]
    Unix(
        #[expect(dead_code, reason = "dropped at the end")] Option<Arc<SocketFile>>,
        tokio::net::UnixListener,
    ),
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
            Self::Unix(_, listener) => AcceptedSocket::Unix(listener.accept().await?.0),
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

impl fmt::Display for Listener {
    /// The address as a URL, or the path of a Unix socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address() {
            return write!(f, "{}://{address}", if self.is_secure() { "https" } else { "http" });
        }
        match self {
            #[cfg(unix)]
            Self::Unix(_, listener) => {
                match listener.local_addr().ok().as_ref().and_then(|at| at.as_pathname()) {
                    Some(path) => write!(f, "unix:{}", path.display()),
                    None => f.write_str("unix:"),
                }
            }
            _ => f.write_str("an unknown address"),
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
            Self::Unix(_, listener) => f.debug_tuple("Unix").field(listener).finish(),
        }
    }
}

/// How often another free port is tried for all addresses of a name together.
const PORT_ATTEMPTS: usize = 16;

/// Binds the addresses of a name, but for those that this machine does not have.
///
/// A name such as `localhost` may have an IPv6 address where IPv6 is switched off. An address that is in use is another
/// matter: whoever asks for the name might then reach another program.
pub(super) fn bind(addresses: impl ToSocketAddrs) -> io::Result<Vec<TcpListener>> {
    let mut wanted: Vec<SocketAddr> = Vec::new();
    let resolved = addresses.to_socket_addrs().map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::InvalidInput => {
                "this is not an address to listen on: write host:port, such as 127.0.0.1:8000".to_owned()
            }
            _ => format!("the host to listen on has no address: {error}"),
        };
        io::Error::new(error.kind(), text)
    })?;
    for address in resolved {
        if !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    let mut attempts = 1;
    loop {
        match bind_all(&wanted) {
            Err(BindError::PortTaken(_)) if attempts < PORT_ATTEMPTS => attempts += 1,
            Err(BindError::PortTaken(error) | BindError::Other(error)) => return Err(error),
            Ok(listeners) => return Ok(listeners),
        }
    }
}

enum BindError {
    /// The port that the system gave for one address is in use at another one.
    PortTaken(io::Error),
    Other(io::Error),
}

fn bind_all(wanted: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut left_out = Vec::new();
    // The port that stands for 0, so that a name has one port.
    let mut port = None;
    for &address in wanted {
        // `[::]` listens for IPv4 too, so `0.0.0.0` cannot have the same port.
        let is_shared = address.port() == 0 && !address.ip().is_unspecified();
        let chosen = port.filter(|_| is_shared);
        let address = SocketAddr::new(address.ip(), chosen.unwrap_or(address.port()));
        match TcpListener::bind(address) {
            Ok(listener) => {
                if is_shared && port.is_none() {
                    port = listener.local_addr().ok().map(|local| local.port());
                }
                listeners.push(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let error = cannot_listen(address, error);
                return Err(if chosen.is_some() {
                    BindError::PortTaken(error)
                } else {
                    BindError::Other(error)
                });
            }
            Err(error) => left_out.push((address, error)),
        }
    }
    if !listeners.is_empty() {
        for (address, error) in left_out {
            tracing::warn!(%address, %error, "the server does not listen on this address of the name");
        }
        return Ok(listeners);
    }
    Err(BindError::Other(match left_out.into_iter().next() {
        Some((address, error)) => cannot_listen(address, error),
        None => io::Error::new(io::ErrorKind::InvalidInput, "the name has no address to listen on"),
    }))
}

fn cannot_listen(on: impl fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {on}: {error}"))
}

/// The socket of a listener, with the settings that its connections begin with.
fn of_tcp(listener: &std::net::TcpListener) -> SockRef<'_> {
    let socket = SockRef::from(listener);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT: a client that reads slowly may look as if it read nothing");
    }
    socket
}

/// Turns off Nagle's algorithm, which would hold small frames back for up to 40 ms.
fn set_nodelay(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY for a socket: small frames may be late");
    }
}
