//! Running a server with consumers in it: its settings, its signals and its end.

use std::{fmt, io, time::Duration};

use actix_service::IntoServiceFactory;
use actix_web::{
    HttpServer,
    body::MessageBody,
    dev::{AppConfig, Response, Service, ServiceFactory},
};
use futures_util::{FutureExt as _, future::Fuse};

use super::{Running, RunningHandle, signals::Signals};
#[cfg(doc)]
use crate::groups::pace::Pace;
use crate::{groups::drain::Drain, runtime};

/// How long the connections have to end before the server stops anyway.
pub(super) const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a server may take to stop at once, before nobody waits for it any more.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// A server that [`run`] can run: an [`HttpServer`] or a [`Server`](crate::Server). There are no others.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be run as a server",
    note = "pass a `greenroom::Server`, or an `actix_web::HttpServer` after `bind` and without `.run()`"
)]
pub trait Serve: sealed::Sealed {
    /// Starts the server, without its own handling of signals.
    ///
    /// # Errors
    /// If the server cannot listen.
    fn start(self) -> io::Result<Running>;
}

pub(super) mod sealed {
    pub trait Sealed {}
}

impl<F, I, S, B> sealed::Sealed for HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, actix_http::Request>,
    S: ServiceFactory<actix_http::Request, Config = AppConfig>,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
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
    fn start(self) -> io::Result<Running> {
        let addresses = self.addrs_with_scheme().into_iter();
        let addresses: Vec<String> =
            addresses.map(|(address, scheme)| format!("{scheme}://{address}")).collect();
        tracing::info!(addresses = addresses.join(", "), "listening");
        let server = self
            .disable_signals()
            // Nagle's algorithm would hold small frames back for up to 40 ms.
            .tcp_nodelay(true)
            .run();
        Ok(server.into())
    }
}

/// Runs a server until SIGINT, SIGTERM or a call of [`Drain::drain`], then drains it.
///
/// Draining closes every connection with 1012 and a hint when to come back, and runs every `disconnect`. If there are
/// many connections, they are closed in batches (see [`Pace`]). When all have ended, or after 30 s, the server stops.
/// Meanwhile new WebSockets are answered 503 with a `Retry-After`, at once. Actix's own pause would leave them waiting
/// in the backlog until the end. Other requests are answered as before.
///
/// This function handles the signals instead of actix, which drops every connection on Ctrl-C. It also sets
/// `tcp_nodelay(true)`, because small frames would wait for up to 40 ms. All other settings of an `HttpServer` stay as
/// you made them. If you call `HttpServer::run` instead, memberships still end with their connection, but on Ctrl-C no
/// `disconnect` runs.
///
/// It runs under `#[actix_web::main]`, and under `#[tokio::main]` too: the threads of the server have runtimes of their
/// own.
///
/// # Errors
/// If the signal handlers cannot be set, if there is no runtime, or if the server fails. A second signal stops the server at once with
/// [`io::ErrorKind::Interrupted`]. A `main` that returns this error ends the process with exit code 1. After one signal
/// the result is `Ok`, even if connections were left when the time was over.
///
/// The [guide](crate::docs::guide#running-and-shutdown) has an example.
pub async fn run(server: impl Serve) -> io::Result<()> {
    run_with(server, Drain::process(), DRAIN_DEADLINE).await
}

/// As [`run`], for the connections of one [`Drain`] and with another deadline.
///
/// # Errors
/// As [`run`].
///
/// See [`Drain`] for an example.
pub async fn run_with(server: impl Serve, drain: Drain, deadline: Duration) -> io::Result<()> {
    runtime::require_any()?;
    let mut signals = Signals::new()?;
    let server = server.start()?;
    let handle = server.handle();
    // It is polled here, and not in a task of its own: such a task would need the runtime of actix.
    let mut server = server.fuse();
    tokio::select! {
        ended = &mut server => return ended,
        name = signals.next() => tracing::info!(signal = name, connections = drain.connections(), "draining"),
        () = drain.begun() => tracing::info!(connections = drain.connections(), "draining: the program asked for it"),
    }
    tokio::select! {
        ended = end(&handle, &mut server, &drain, deadline) => ended,
        name = signals.next() => {
            let left = drain.connections();
            tracing::warn!(signal = name, connections = left, "a second signal: stopping at once");
            tokio::select! {
                () = handle.stop(false) => {}
                _ = &mut server => {}
                // The server may be stopping already, and then does not answer.
                () = tokio::time::sleep(STOP_DEADLINE) => {}
            }
            let text = format!("stopped at once by a second signal, {name}; connections left: {left}");
            Err(io::Error::new(io::ErrorKind::Interrupted, text))
        }
    }
}

/// Drains the connections and stops the server.
async fn end(
    handle: &RunningHandle,
    server: &mut Fuse<Running>,
    drain: &Drain,
    deadline: Duration,
) -> io::Result<()> {
    let stopping = async {
        let left = drain.drain(deadline).await;
        if left == 0 {
            tracing::info!("drained, stopping");
        } else {
            tracing::warn!(
                connections = left,
                ?deadline,
                "stopping, although some connections did not end in time"
            );
        }
        handle.stop(left == 0).await;
    };
    let ((), ended) = tokio::join!(stopping, server);
    ended
}
