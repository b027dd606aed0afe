//! The threads of a server: each accepts and serves sockets, and ends, on its own.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use actix_rt::System;
use futures_util::{
    StreamExt as _,
    future::{LocalBoxFuture, join_all},
    stream::FuturesUnordered,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::listener::{AcceptedSocket, HandedSocket, Listener, OpenListener};
use crate::wire::socket::Socket;

/// How many sockets of a thread may speak HTTP at once. Sockets of WebSockets count elsewhere: see `max_connections`.
const SOCKETS: u32 = 25_600;
/// How many accepted sockets may wait for another thread. If as many wait, the accepting thread keeps the next one.
const HANDED: usize = 1_024;
/// How long a thread stops accepting after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How long requests under way may take after a graceful stop.
const LAST_REQUESTS: Duration = Duration::from_secs(1);
/// How many threads for blocking work a server may have, for all its threads together: as in actix-server.
const BLOCKING_THREADS: usize = 512;

/// Serves a socket of one listener, on one thread.
pub(super) type ServeSocket = Rc<dyn Fn(Socket, Option<std::net::SocketAddr>) -> LocalBoxFuture<'static, ()>>;
/// Builds the [`ServeSocket`] of a listener, on the thread that will use it.
pub(super) type Build = Box<dyn FnOnce() -> LocalBoxFuture<'static, io::Result<ServeSocket>> + Send>;

/// Tells all threads to stop: gracefully, or at once.
#[derive(Clone)]
pub(crate) struct StopHandle(Arc<watch::Sender<Option<bool>>>);

impl StopHandle {
    pub(crate) fn stop(&self, graceful: bool) -> impl Future<Output = ()> + use<> {
        // A graceful stop may be turned into one at once, but not the other way round.
        self.0.send_modify(|stop| *stop = Some(stop.unwrap_or(true) && graceful));
        let sender = Arc::clone(&self.0);
        async move { sender.closed().await }
    }
}

/// The threads of a server. They stop at once when this is dropped.
pub(crate) struct Threads {
    stop: StopHandle,
    ended: FuturesUnordered<oneshot::Receiver<io::Result<()>>>,
    failed: Option<io::Error>,
}

impl Threads {
    /// Starts `count` threads. `build` is called once for each listener and thread.
    pub(super) fn start(
        count: usize,
        listeners: &[Listener],
        limit: Duration,
        build: &dyn Fn(&Listener) -> Build,
    ) -> io::Result<Self> {
        let stop = StopHandle(Arc::new(watch::Sender::new(None)));
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(HANDED)).unzip();
        let turn = Arc::new(AtomicUsize::new(0));
        let ended = FuturesUnordered::new();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let listeners = listeners
                .iter()
                .map(|listener| Ok((listener.try_clone()?, build(listener))))
                .collect::<io::Result<Vec<_>>>()?;
            let dispatch = SocketDispatch { index, turn: Arc::clone(&turn), threads: senders.clone() };
            let stopped = stop.0.subscribe();
            let (done, end) = oneshot::channel();
            // Linux shows 15 bytes of the name.
            thread::Builder::new().name(format!("greenroom {index}")).spawn(move || {
                let runtime = move || {
                    tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .max_blocking_threads((BLOCKING_THREADS / count).max(1))
                        .build()
                };
                let result = runtime().and_then(|runtime| {
                    System::with_tokio_rt(|| runtime)
                        .block_on(work(listeners, dispatch, inbox, limit, stopped))
                });
                // An error means that nobody waits for the end any more.
                let _ = done.send(result);
            })?;
            ended.push(end);
        }
        Ok(Self { stop, ended, failed: None })
    }

    pub(crate) fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }
}

impl Future for Threads {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Poll::Ready(ended) = self.ended.poll_next_unpin(cx) {
            let error = match ended {
                None => return Poll::Ready(self.failed.take().map_or(Ok(()), Err)),
                Some(Ok(Ok(()))) => continue,
                Some(Ok(Err(error))) => error,
                Some(Err(_)) => io::Error::other("a thread of the server panicked"),
            };
            // If one thread fails, for example because its App does not start, usually all of them do.
            tracing::error!(%error, "a thread of the server ended: the server stops");
            drop(self.stop.stop(false));
            self.failed.get_or_insert(error);
        }
        Poll::Pending
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop(self.stop.stop(false));
    }
}

/// Chooses the thread that serves an accepted socket. The threads take turns, whichever of them accepts.
struct SocketDispatch {
    index: usize,
    turn: Arc<AtomicUsize>,
    /// The way to each thread, for a socket and the number of its listener.
    threads: Vec<mpsc::Sender<(usize, HandedSocket)>>,
}

impl SocketDispatch {
    /// Returns the socket if this thread serves it.
    fn keep(&self, number: usize, accepted: AcceptedSocket) -> Option<AcceptedSocket> {
        let next = self.turn.fetch_add(1, Relaxed) % self.threads.len();
        if next == self.index {
            return Some(accepted);
        }
        let Ok(place) = self.threads[next].try_reserve() else { return Some(accepted) };
        match accepted.into_raw() {
            Ok(raw) => place.send((number, raw)),
            Err(error) => tracing::debug!(%error, "an accepted socket was lost"),
        }
        None
    }
}

/// Accepts and serves on one thread, until the server stops.
async fn work(
    listeners: Vec<(Listener, Build)>,
    dispatch: SocketDispatch,
    mut handed: mpsc::Receiver<(usize, HandedSocket)>,
    limit: Duration,
    mut stopped: watch::Receiver<Option<bool>>,
) -> io::Result<()> {
    let mut served = Vec::new();
    let mut open = Vec::new();
    for (listener, build) in listeners {
        open.push(listener.open()?);
        served.push(build().await?);
    }
    let served: Rc<[ServeSocket]> = served.into();
    let seats = Arc::new(Semaphore::new(SOCKETS as usize));
    let begin = |number: usize, accepted: AcceptedSocket, seat: OwnedSemaphorePermit| {
        let serve = Rc::clone(&served[number]);
        actix_rt::spawn(async move {
            if let Some((socket, peer)) = accepted.begin(limit).await {
                serve(socket, peer).await;
            }
            drop(seat);
        });
    };
    let accepting = join_all(open.iter().enumerate().map(async |(number, live)| {
        loop {
            let seat = seat(&seats).await;
            if let Some(accepted) = dispatch.keep(number, accept(live).await) {
                begin(number, accepted, seat);
            }
        }
    }));
    let taking = async {
        while let Some((number, raw)) = handed.recv().await {
            match AcceptedSocket::from_raw(raw) {
                Ok(accepted) => begin(number, accepted, seat(&seats).await),
                Err(error) => tracing::debug!(%error, "an accepted socket was lost"),
            }
        }
    };
    let graceful = tokio::select! {
        // An error means that `Threads` was dropped.
        stop = stopped.wait_for(Option::is_some) => stop.is_ok_and(|stop| *stop == Some(true)),
        _ = accepting => false,
        () = taking => false,
    };
    drop(open);
    if graceful {
        let idle = seats.acquire_many(SOCKETS);
        let at_once = stopped.wait_for(|stop| *stop == Some(false));
        tokio::select! {
            _ = tokio::time::timeout(LAST_REQUESTS, idle) => {}
            _ = at_once => {}
        }
    }
    Ok(())
}

async fn seat(seats: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(seats).acquire_owned().await {
        Ok(seat) => seat,
        // The semaphore is never closed.
        Err(_) => std::future::pending().await,
    }
}

/// Accepts the next socket. An error of one client must not end the listener.
async fn accept(live: &OpenListener) -> AcceptedSocket {
    loop {
        match live.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_client(&error) => {
                tracing::debug!(%error, "a client left before it was accepted")
            }
            Err(error) => {
                tracing::error!(%error, pause = ?ACCEPT_PAUSE, "cannot accept connections: if there are too many open files, raise the limit (ulimit -n)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
