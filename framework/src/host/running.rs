//! A server that runs, on either host.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::dev;

use super::server::threads::{StopHandle, Threads};

/// A server that was started: a future that ends when the server ends.
///
/// If it is dropped, a [`Server`](crate::Server) stops at once. An `HttpServer` goes on until it is told to stop.
///
/// [`RunningHandle::stop`] ends it.
#[must_use = "a server runs while it is awaited"]
pub struct Running(RunningKind);

enum RunningKind {
    Actix(dev::Server),
    Own(Threads),
}

impl Running {
    pub(crate) fn own(threads: Threads) -> Self {
        Self(RunningKind::Own(threads))
    }

    /// A handle to stop the server from elsewhere.
    #[must_use]
    pub fn handle(&self) -> RunningHandle {
        RunningHandle(match &self.0 {
            RunningKind::Actix(server) => HandleKind::Actix(server.handle()),
            RunningKind::Own(threads) => HandleKind::Own(threads.stop_handle()),
        })
    }
}

impl From<dev::Server> for Running {
    fn from(server: dev::Server) -> Self {
        Self(RunningKind::Actix(server))
    }
}

impl Future for Running {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            RunningKind::Actix(server) => Pin::new(server).poll(cx),
            RunningKind::Own(threads) => Pin::new(threads).poll(cx),
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

/// Stops a [`Running`] server.
#[derive(Clone)]
pub struct RunningHandle(HandleKind);

#[derive(Clone)]
enum HandleKind {
    Actix(dev::ServerHandle),
    Own(StopHandle),
}

impl RunningHandle {
    /// Stops accepting connections, and ends the present ones.
    ///
    /// With `graceful`, HTTP requests under way have one more second. The server begins to stop when this is called;
    /// the future waits until it has ended. Consumers are dropped without their `disconnect`, so drain them first, as
    /// [`run`](crate::run) does.
    pub fn stop(&self, graceful: bool) -> impl Future<Output = ()> + use<> {
        let stopping: Pin<Box<dyn Future<Output = ()>>> = match &self.0 {
            HandleKind::Actix(handle) => Box::pin(handle.stop(graceful)),
            HandleKind::Own(stop) => Box::pin(stop.stop(graceful)),
        };
        stopping
    }
}

impl fmt::Debug for RunningHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningHandle")
    }
}
