//! Running an `HttpServer` with consumers in it: its settings, its signals and its end.

use std::{fmt, io, time::Duration};

use actix_service::IntoServiceFactory;
use actix_web::{
    HttpServer,
    body::MessageBody,
    dev::{AppConfig, Response, Server, Service, ServiceFactory},
};

use super::Drain;

/// How long the connections have to end before the server stops all the same.
pub(super) const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// A server that [`run`] takes: an [`HttpServer`] of actix-web, or a [`Server`](crate::Server).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a server that can be run",
    note = "give it a `greenroom::Server` or an `actix_web::HttpServer` after `bind`, without `.run()`"
)]
pub trait Serve {
    /// Sets what WebSockets need, and starts the server.
    ///
    /// # Errors
    /// Where it cannot listen.
    fn start(self) -> io::Result<Server>;
}

impl<F, I, S, B> Serve for HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, actix_http::Request>,
    S: ServiceFactory<actix_http::Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<actix_http::Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    fn start(self) -> io::Result<Server> {
        let server = self
            .disable_signals()
            // Nagle's algorithm would hold small frames back for up to 40 ms.
            .tcp_nodelay(true)
            // Otherwise TCP stays open for a second after the close frame.
            .client_disconnect_timeout(Duration::ZERO)
            // Otherwise a client that leaves a request that waits goes unseen.
            .h1_allow_half_closed(false)
            .run();
        Ok(server)
    }
}

/// Runs a server until SIGINT or SIGTERM, then drains it.
///
/// It takes no new connections, closes every socket with 1001 and runs every `disconnect`. A second signal, or
/// 30 s, ends it at once.
///
/// It takes signals over from actix, which drops every connection on Ctrl-C, and sets what WebSockets need:
/// `tcp_nodelay(true)`, `client_disconnect_timeout(0)` and `h1_allow_half_closed(false)`. In a plain
/// `HttpServer::run` set these three yourself; there memberships still end with their connection, but on
/// Ctrl-C no `disconnect` runs.
///
/// # Errors
/// Where the signal handlers cannot be set, or the server fails.
pub async fn run(server: impl Serve) -> io::Result<()> {
    run_with(server, Drain::process(), DRAIN_DEADLINE).await
}

/// As [`run`], for the connections of one [`Drain`] and with another deadline.
///
/// # Errors
/// As [`run`].
pub async fn run_with(server: impl Serve, drain: Drain, deadline: Duration) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let server = server.start()?;
    let handle = server.handle();
    let mut server = actix_rt::spawn(server);
    tokio::select! {
        ended = &mut server => return ended?,
        name = signals.next() => tracing::info!(signal = name, connections = drain.connections(), "draining"),
    }
    handle.pause().await;
    let left = tokio::select! {
        left = drain.drain(deadline) => left,
        name = signals.next() => {
            tracing::warn!(signal = name, connections = drain.connections(), "a second signal: stopping at once");
            handle.stop(false).await;
            return server.await?;
        }
    };
    if left == 0 {
        tracing::info!("drained, stopping");
    } else {
        tracing::warn!(connections = left, ?deadline, "stopping with connections that did not end in time");
    }
    handle.stop(left == 0).await;
    server.await?
}

/// The signals that end a server.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one, and names it.
    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signal can come: only the server's own end is left to wait for.
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
