//! The direct host: each connection owns its socket.

mod app;
pub(super) mod connection;
mod listener;
pub(super) mod threads;
#[cfg(unix)]
mod unix;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_http::{Request, Response, body::MessageBody};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::{App, dev::AppConfig};
use futures_util::FutureExt as _;

use self::{
    app::Http,
    listener::Listener,
    threads::{Build, Threads},
};
use super::{
    Mount, Running,
    run::{DRAIN_DEADLINE, Serve, run_with, sealed::Sealed},
};
use crate::{
    Layer,
    routing::{ProtocolTypeRouter, RouteErrors},
    time::FOREVER,
};

/// A server for consumers, and for an ordinary `App` beside them.
///
/// It does the same as a [`Mount`] in an [`HttpServer`](actix_web::HttpServer), with less CPU and a fraction of the
/// memory. When a handshake has passed the App and its middleware, the connection owns its socket, and actix-web keeps
/// nothing for it.
///
/// ```no_run
/// use greenroom::{Server, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Echo;
/// impl Consumer for Echo {
///     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
///         ctx.send_text(message.text()?.to_owned())
///     }
/// }
///
/// #[actix_web::main]
/// async fn main() -> Result<()> {
///     let routes = UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo));
///     Ok(Server::new(routes)?.bind("127.0.0.1:8000")?.run().await?)
/// }
/// ```
///
/// It speaks HTTP/1.1. If a handler of the App answers 101 itself, as those of `actix-ws` do, the client gets 501.
/// Serve such handlers with a [`Mount`] in an `HttpServer`.
#[must_use]
pub struct Server {
    pub(super) mount: Mount,
    app: Attach,
    listeners: Vec<Listener>,
    threads: Option<usize>,
    settings: ListenerSettings,
}

/// Makes what builds the App for a listener. The type of the App is erased.
type Attach = Arc<dyn Fn(&Listener, &ListenerSettings, &Mount) -> Build + Send + Sync>;

/// How many threads a server may have.
const MOST_THREADS: usize = 512;

/// The settings that all listeners share.
#[derive(Debug, Clone)]
struct ListenerSettings {
    backlog: i32,
    request_timeout: Duration,
    keep_alive: Duration,
}

impl Server {
    /// A server for these routes, with a memory layer and the default limits.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn new(routes: impl Into<ProtocolTypeRouter>) -> Result<Self, RouteErrors> {
        Ok(Self::of(Mount::new(routes)?))
    }

    /// A server for the routes, layers and limits of a mount.
    ///
    /// It also serves clients without a WebSocket and the JavaScript client, unless the mount says otherwise.
    pub fn of(mount: Mount) -> Self {
        let settings = ListenerSettings {
            backlog: 2048,
            request_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(5),
        };
        let app = attach(|mount: &Mount| App::new().configure(mount.configure()));
        Self { mount: mount.complete(), app, listeners: Vec::new(), threads: None, settings }
    }

    /// The default layer, for sending from outside of consumers.
    #[must_use]
    pub fn default_layer(&self) -> &Layer {
        self.mount.default_layer()
    }

    /// Serves your own App, with its middleware and data. By default the App has only the mount.
    ///
    /// `app` is called with the mount, once for each thread and listener. Configure the App with the mount:
    ///
    /// ```no_run
    /// use actix_web::{App, middleware::DefaultHeaders};
    /// # use greenroom::{Server, UrlRouter};
    /// # fn server() -> Result<Server, Box<dyn std::error::Error>> {
    /// # let routes = UrlRouter::new();
    /// let server = Server::new(routes)?.app(|mount| {
    ///     App::new().wrap(DefaultHeaders::new().add(("X-Served-By", "me"))).configure(mount.configure())
    /// });
    /// # Ok(server) }
    /// ```
    pub fn app<F, I, S, B>(mut self, app: F) -> Self
    where
        F: Fn(&Mount) -> I + Send + Sync + 'static,
        I: IntoServiceFactory<S, Request> + 'static,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        self.app = attach(app);
        self
    }

    /// Listens on every TCP address of a name. May be called several times, for further names.
    ///
    /// An address that this machine does not have is left out, with a warning in the log. So `localhost:8000` works where
    /// IPv6 is switched off. With port 0, all addresses of the name get the same free port.
    ///
    /// On a loopback address, only requests for `localhost` and for addresses are allowed: see
    /// [`AllowedHosts`](crate::middleware::AllowedHosts).
    ///
    /// # Errors
    /// If an address is in use, or if none can be bound.
    pub fn bind(mut self, addresses: impl ToSocketAddrs) -> io::Result<Self> {
        self.listeners.extend(listener::bind(addresses)?.into_iter().map(Listener::Tcp));
        Ok(self)
    }

    /// Listens on a socket that is already bound.
    pub fn listen(mut self, listener: TcpListener) -> Self {
        self.listeners.push(Listener::Tcp(listener));
        self
    }

    /// Listens with TLS on every TCP address of a name, with rustls 0.23.
    ///
    /// The name has the version, as in actix-web: the configuration must be of this rustls. A later one gets a method beside
    /// this one.
    ///
    /// The protocols that the configuration offers (ALPN) are replaced by `http/1.1`. A TLS handshake that takes longer
    /// than [`request_timeout`](Self::request_timeout) is cut off.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    #[cfg(feature = "rustls")]
    pub fn bind_rustls_0_23(
        mut self,
        addresses: impl ToSocketAddrs,
        mut config: tokio_rustls::rustls::ServerConfig,
    ) -> io::Result<Self> {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listeners = listener::bind(addresses)?;
        self.listeners.extend(listeners.into_iter().map(|one| Listener::Tls(one, acceptor.clone())));
        Ok(self)
    }

    /// Listens on a Unix socket. If an ended server has left its file at this path, the file is replaced.
    ///
    /// The file gets the permissions that the process gives to new files (umask). At the end of the server it is removed,
    /// unless another file has taken its place. A process that is killed leaves it.
    ///
    /// # Errors
    /// If the path cannot be bound, for example because another server listens on it. An abstract name of Linux is refused.
    #[cfg(unix)]
    pub fn bind_unix(mut self, path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        self.listeners.push(unix::bind(path.as_ref(), None)?);
        Ok(self)
    }

    /// As [`bind_unix`](Self::bind_unix), with the permissions of the file, for example `0o660`.
    ///
    /// Nobody can connect before the file has them.
    ///
    /// # Errors
    /// As [`bind_unix`](Self::bind_unix). Also if the mode is over `0o777`.
    #[cfg(unix)]
    pub fn bind_unix_with(mut self, path: impl AsRef<std::path::Path>, mode: u32) -> io::Result<Self> {
        self.listeners.push(unix::bind(path.as_ref(), Some(mode))?);
        Ok(self)
    }

    /// Listens on the TCP and Unix sockets that the process was started with.
    ///
    /// systemd's socket activation and `systemfd` pass such sockets, from file descriptor 3 on (`LISTEN_FDS`). So a new
    /// process can take over from an old one, and no connection is refused.
    ///
    /// # Errors
    /// If there is no such socket.
    #[cfg(unix)]
    pub fn listen_inherited(mut self) -> io::Result<Self> {
        let mut inherited = listenfd::ListenFd::from_env();
        for index in 0..inherited.len() {
            // If it is not a TCP socket, this call leaves it in place.
            let listener = match inherited.take_tcp_listener(index) {
                Ok(listener) => listener.map(Listener::Tcp),
                Err(_) => inherited.take_unix_listener(index)?.map(|listener| Listener::Unix(None, listener)),
            };
            self.listeners.extend(listener);
        }
        if self.listeners.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no socket was inherited: LISTEN_FDS is not set for this process",
            ));
        }
        Ok(self)
    }

    /// The TCP addresses on which the server listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(Listener::address).collect()
    }

    /// How many threads serve connections, 1 to 512. The default, `None`, is one for each core.
    ///
    /// With any other number the server does not start: [`run`](Self::run) returns an error.
    pub fn threads(mut self, count: impl Into<Option<usize>>) -> Self {
        self.threads = count.into();
        self
    }

    /// How many connections may wait to be accepted. Default 2,048. The limit of the system (`somaxconn`) applies too.
    pub fn backlog(mut self, count: u16) -> Self {
        self.settings.backlog = count.into();
        self
    }

    /// How long a client may take for each step up to its first request. Default 5 s for each.
    ///
    /// The steps are the TLS handshake, the first bytes of the request, and the rest of its head. If the request is
    /// late, it is answered 408, and the socket is closed. The clock for this moves every half a second, so with a
    /// shorter time a slow head may end without an answer.
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.settings.request_timeout = time.min(FOREVER);
        self
    }

    /// How long an HTTP connection may be idle between requests. Default 5 s.
    ///
    /// For WebSockets [`Limits`](crate::Limits) apply instead.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.settings.keep_alive = time.min(FOREVER);
        self
    }

    /// Runs until SIGINT or SIGTERM, then drains: see [`run`](crate::run).
    ///
    /// # Errors
    /// As [`run`](crate::run). Also if the server has nothing to listen on, or an impossible number of threads.
    pub async fn run(self) -> io::Result<()> {
        let drain = self.mount.drain_of().clone();
        run_with(self, drain, DRAIN_DEADLINE).await
    }
}

impl Sealed for Server {}

impl Serve for Server {
    fn start(self) -> io::Result<Running> {
        if self.listeners.is_empty() {
            let text = "the server has nothing to listen on: call bind before run";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        for listener in &self.listeners {
            listener.prepare(self.settings.backlog)?;
        }
        if let Some(count) = self.threads.filter(|count| !(1..=MOST_THREADS).contains(count)) {
            let text = format!("a server has 1 to {MOST_THREADS} threads, and not {count}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let cores = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let threads = self.threads.unwrap_or_else(cores);
        let build = |listener: &Listener| (self.app)(listener, &self.settings, &self.mount);
        let running = Threads::start(threads, &self.listeners, self.settings.request_timeout, &build)?;
        let addresses: Vec<String> = self.listeners.iter().map(Listener::to_string).collect();
        tracing::info!(addresses = addresses.join(", "), threads, "listening");
        Ok(Running::own(running))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("mount", &self.mount)
            .field("listeners", &self.listeners)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

fn attach<F, I, S, B>(app: F) -> Attach
where
    F: Fn(&Mount) -> I + Send + Sync + 'static,
    I: IntoServiceFactory<S, Request> + 'static,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let app = Arc::new(app);
    // Each thread builds the App, and one of them says what it lacks.
    let told = Arc::new(AtomicBool::new(false));
    Arc::new(move |listener, settings, mount| {
        let (app, mount, told) = (Arc::clone(&app), mount.unconfigured(), Arc::clone(&told));
        let http = Http {
            request_timeout: settings.request_timeout,
            keep_alive: settings.keep_alive,
            secure: listener.is_secure(),
            local: listener.address().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            layer: mount.default_layer().clone(),
            routes: mount.routes().clone(),
        };
        let build = move || {
            let app = app(&mount);
            if !mount.is_configured() && !told.swap(true, Relaxed) {
                tracing::warn!(
                    "the App of the Server never took its consumers, so they cannot be reached: write \
                     .app(|mount| App::new().configure(mount.configure()))"
                );
            }
            app
        };
        Box::new(move || app::build(build, http).boxed_local())
    })
}
