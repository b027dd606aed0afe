//! What a server listens on, and how a socket of it begins.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
};

use actix_http::{Request, Response, body::MessageBody, error::DispatchError};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service};
use actix_web::dev::AppConfig;
use tokio::net::TcpStream;

use super::{
    Settings,
    app::{self, Http},
};
use crate::transport::socket::Socket;

/// A listener, and what its sockets are wrapped in.
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(feature = "rustls")]
    Tls(TcpListener, tokio_rustls::TlsAcceptor),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// The address of a TCP listener.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(feature = "rustls")]
            Self::Tls(listener, _) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }

    /// Has the workers serve what it accepts.
    pub(super) fn attach<F, I, S, B>(
        self,
        builder: ServerBuilder,
        settings: &Settings,
        factory: F,
    ) -> io::Result<ServerBuilder>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let local = self.address().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let http = Http {
            request_timeout: settings.request_timeout,
            keep_alive: settings.keep_alive,
            secure: !matches!(self, Self::Tcp(_)) && self.address().is_some(),
            local,
        };
        let name = format!("greenroom-{local}");
        match self {
            Self::Tcp(listener) => {
                listen_backlog(&listener, settings)?;
                builder.listen(name, listener, move || {
                    let begin = fn_service(|socket: TcpStream| async {
                        let peer = begin(&socket);
                        Ok::<_, DispatchError>((Socket::Tcp(socket), peer))
                    });
                    begin.and_then(app::service(&factory, http.clone()))
                })
            }
            #[cfg(feature = "rustls")]
            Self::Tls(listener, acceptor) => {
                listen_backlog(&listener, settings)?;
                let limit = settings.request_timeout;
                builder.listen(name, listener, move || {
                    let acceptor = acceptor.clone();
                    let begin = fn_service(move |socket: TcpStream| {
                        let acceptor = acceptor.clone();
                        async move {
                            let peer = begin(&socket);
                            let socket = tokio::time::timeout(limit, acceptor.accept(socket))
                                .await
                                .map_err(io::Error::from)
                                .flatten()
                                .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
                                .map_err(DispatchError::Io)?;
                            Ok((Socket::Tls(Box::new(socket)), peer))
                        }
                    });
                    begin.and_then(app::service(&factory, http.clone()))
                })
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                socket2::SockRef::from(&listener).listen(settings.backlog)?;
                builder.listen_uds(name, listener, move || {
                    let begin = fn_service(|socket: tokio::net::UnixStream| async {
                        Ok::<_, DispatchError>((Socket::Unix(socket), None))
                    });
                    begin.and_then(app::service(&factory, http.clone()))
                })
            }
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

/// Binds every address that a name stands for.
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

/// Binds a Unix socket; a file that an ended server has left is replaced.
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
            // Refused by a file that is no socket, too.
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

/// Sets the backlog of a socket that listens already: the standard library has no way to.
fn listen_backlog(listener: &TcpListener, settings: &Settings) -> io::Result<()> {
    socket2::SockRef::from(listener).listen(settings.backlog)
}

/// Prepares a new TCP socket. Where it has no peer any more, its first read ends it.
fn begin(socket: &TcpStream) -> Option<SocketAddr> {
    // Nagle's algorithm would hold small frames back for up to 40 ms.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "a socket without TCP_NODELAY");
    }
    socket.peer_addr().ok()
}
