//! A server on a free port, for tests over real sockets.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use actix_http::{Request, Response, body::MessageBody};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::{App, HttpServer, dev::AppConfig};

use crate::{Drain, Mount, RunningHandle, Serve, Server};

/// The host with which a [`LiveServer`] takes connections.
///
/// [`LiveServer::start_on`] takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Host {
    /// A [`Server`]. The default.
    #[default]
    Direct,
    /// A [`Mount`] in an `HttpServer` of actix-web.
    Mounted,
}

impl Host {
    /// The host that the environment variable `GREENROOM_TEST_HOST` names: `direct` or `mounted`. Default: direct.
    ///
    /// So one suite can run over both.
    ///
    /// # Errors
    /// If the variable has another value.
    pub fn from_env() -> io::Result<Self> {
        match std::env::var("GREENROOM_TEST_HOST").as_deref() {
            Err(_) | Ok("direct") => Ok(Self::Direct),
            Ok("mounted") => Ok(Self::Mounted),
            Ok(other) => {
                let text = format!("GREENROOM_TEST_HOST is {other:?}: make it direct or mounted");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }
}

/// A server on its own thread and on a free port of 127.0.0.1. It stops when it is dropped.
///
/// On either host it serves what a [`Server`] serves: also clients without a WebSocket, and the JavaScript client, unless
/// the mount says otherwise.
///
/// ```
/// use greenroom::{Mount, prelude::*, testing::LiveServer};
///
/// #[derive(NoEvents)]
/// struct Echo;
/// impl Consumer for Echo {}
///
/// let mount = Mount::new(UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo)))?;
/// let server = LiveServer::start(&mount, 1)?;
/// // An address for any WebSocket client.
/// assert!(server.ws_url("/echo/").starts_with("ws://127.0.0.1:"));
/// # Ok::<(), greenroom::Error>(())
/// ```
#[derive(Debug)]
pub struct LiveServer {
    address: SocketAddr,
    handle: RunningHandle,
    drain: Drain,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl LiveServer {
    /// Starts a server with this many threads, on the host of [`Host::from_env`].
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start(mount: &Mount, threads: usize) -> io::Result<Self> {
        Self::start_on(Host::from_env()?, mount, threads)
    }

    /// Starts a server with this many threads, on one host.
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start_on(host: Host, mount: &Mount, threads: usize) -> io::Result<Self> {
        Self::start_app_on(host, mount, threads, |mount| App::new().configure(mount.configure()))
    }

    /// As [`start`](Self::start), with your own App: its middleware, its data, and its routes beside the consumers.
    ///
    /// As in [`Server::app`], `app` is called with the mount, and configures the App with *this* mount.
    ///
    /// ```
    /// use actix_web::{App, HttpResponse, web};
    /// use greenroom::{Mount, UrlRouter, testing::LiveServer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mount = Mount::new(UrlRouter::new())?;
    /// let server = LiveServer::start_app(&mount, 1, |mount| {
    ///     App::new()
    ///         .app_data(web::Data::new("the database".to_owned()))
    ///         .route("/health", web::get().to(HttpResponse::Ok))
    ///         .configure(mount.configure())
    /// })?;
    /// assert!(server.url("/health").starts_with("http://127.0.0.1:"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start_app<F, I, S, B>(mount: &Mount, threads: usize, app: F) -> io::Result<Self>
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
        Self::start_app_on(Host::from_env()?, mount, threads, app)
    }

    /// As [`start_app`](Self::start_app), on one host.
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start_app_on<F, I, S, B>(host: Host, mount: &Mount, threads: usize, app: F) -> io::Result<Self>
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
        let drain = mount.drain_of().sibling();
        let mount = mount.clone().drain(drain.clone()).complete();
        let (sender, started) = mpsc::channel();
        let thread = thread::Builder::new().name("live-server".to_owned()).spawn(move || {
            actix_rt::System::new().block_on(async move {
                let (address, server) = match host {
                    Host::Direct => {
                        let server = Server::of(mount).app(app).threads(threads).bind("127.0.0.1:0")?;
                        (server.addresses()[0], Serve::start(server)?)
                    }
                    Host::Mounted => {
                        let app = Arc::new(app);
                        let server = HttpServer::new(move || app(&mount))
                            .workers(threads)
                            .shutdown_timeout(1)
                            .bind("127.0.0.1:0")?;
                        (server.addrs()[0], Serve::start(server)?)
                    }
                };
                // The caller of `start_on` waits for this. An error means that it has panicked.
                let _ = sender.send((address, server.handle()));
                server.await
            })
        })?;
        match started.recv() {
            Ok((address, handle)) => Ok(Self { address, handle, drain, thread: Some(thread) }),
            Err(mpsc::RecvError) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(io::Error::other("the server ended before it had started")),
            },
        }
    }

    /// The address on which the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a page: `http://127.0.0.1:<port><path>`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URL of a WebSocket: `ws://127.0.0.1:<port><path>`.
    #[must_use]
    pub fn ws_url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.drain.connections()
    }

    /// Waits until every connection has ended and run its `disconnect`.
    pub async fn wait_until_empty(&self) {
        self.drain.empty().await;
    }

    /// Drains the connections, then stops. Returns how many were left at the deadline.
    pub async fn drain(&self, deadline: Duration) -> usize {
        let left = self.drain.drain(deadline).await;
        self.handle.stop(left == 0).await;
        left
    }
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        // The server begins to stop at the call. The future only waits for the end.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            // Nobody reads its error any more.
            let _ = thread.join();
        }
    }
}
