//! A proxy to a server, which a test can cut or slow down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How slow a proxy is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slow {
    /// How long each byte is on its way.
    pub delay: Duration,
    /// How many bytes pass in a second, in each direction. 0 means no limit.
    pub bytes_a_second: u32,
}

/// Passes bytes on between clients and a server on 127.0.0.1.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
}

#[derive(Debug)]
struct Way {
    slow: Slow,
    /// The port of the server to which new connections go.
    server: AtomicU16,
    /// How many more bytes the clients get from the server. A negative number means no limit.
    down: AtomicI64,
    /// How many more bytes the server gets from the clients. A negative number means no limit.
    up: AtomicI64,
    flights: AtomicU64,
    accepted: AtomicU64,
    cut: Notify,
}

impl Proxy {
    /// Starts a proxy to the server on this port. The proxy ends with its runtime.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(server: u16) -> Self {
        Self::slow(server, Slow::default()).await
    }

    /// Starts a proxy that is a slow link.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn slow(server: u16, slow: Slow) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("the listener is bound").port();
        let all = || AtomicI64::new(-1);
        let way = Arc::new(Way {
            slow,
            server: AtomicU16::new(server),
            down: all(),
            up: all(),
            flights: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            cut: Notify::new(),
        });
        actix_web::rt::spawn(serve(listener, Arc::clone(&way)));
        Self { port, way }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Leads new connections to the server on this port. Connections that exist stay.
    pub fn lead_to(&self, server: u16) {
        self.way.server.store(server, Relaxed);
    }

    /// Cuts every connection that exists now.
    pub fn cut(&self) {
        self.way.cut.notify_one();
    }

    /// Cuts every connection when the clients have got this many more bytes: in the middle of a message if it is longer.
    pub fn cut_after(&self, bytes: i64) {
        self.way.down.store(bytes, Relaxed);
    }

    /// Cuts every connection when the server has got this many more bytes.
    pub fn cut_up_after(&self, bytes: i64) {
        self.way.up.store(bytes, Relaxed);
    }

    /// Whether the proxy has cut after a number of bytes.
    #[must_use]
    pub fn has_cut(&self) -> bool {
        self.way.down.load(Relaxed) == 0 || self.way.up.load(Relaxed) == 0
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        self.way.down.store(-1, Relaxed);
        self.way.up.store(-1, Relaxed);
    }

    /// How many connections the proxy has accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.way.accepted.load(Relaxed)
    }

    /// How often a client has sent something after it had heard the server.
    ///
    /// These are its round trips, if all that it sends at once passes before the first answer comes.
    #[must_use]
    pub fn flights(&self) -> u64 {
        self.way.flights.load(Relaxed)
    }
}

async fn serve(listener: TcpListener, way: Arc<Way>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = way.cut.notified() => {
                connections.abort_all();
                continue;
            }
        };
        let Ok((client, _)) = accepted else { return };
        way.accepted.fetch_add(1, Relaxed);
        let server = way.server.load(Relaxed);
        let way = Arc::clone(&way);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
            for socket in [&client, &server] {
                let _ = socket.set_nodelay(true);
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let heard = AtomicBool::new(true);
            let said = || {
                if heard.swap(false, Relaxed) {
                    way.flights.fetch_add(1, Relaxed);
                }
            };
            // When one direction ends, both are dropped.
            tokio::select! {
                () = pass(from_client, to_server, &way.up, way.slow, said) => {}
                () = pass(from_server, to_client, &way.down, way.slow, || heard.store(true, Relaxed)) => {}
            }
        });
    }
}

/// Passes bytes on until either end has closed, or the proxy cuts.
async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, left: &AtomicI64, slow: Slow, came: impl Fn()) {
    // The bytes that are on their way.
    let (sender, receiver) = mpsc::channel(1_024);
    tokio::join!(read(from, sender, slow.delay, came), write(receiver, to, left, slow.bytes_a_second));
}

async fn read(
    mut from: OwnedReadHalf,
    to: mpsc::Sender<(Instant, Vec<u8>)>,
    delay: Duration,
    came: impl Fn(),
) {
    let mut buffer = vec![0; 4096];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = to.closed() => return,
        };
        let Ok(read @ 1..) = read else { return };
        came();
        if to.send((Instant::now() + delay, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut from: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    left: &AtomicI64,
    bytes_a_second: u32,
) {
    let mut free = Instant::now();
    while let Some((due, bytes)) = from.recv().await {
        free = free.max(due);
        sleep_until(free).await;
        let (pass, is_cut) = take(left, bytes.len());
        if bytes_a_second > 0 {
            free += Duration::from_secs_f64(pass as f64 / f64::from(bytes_a_second));
        }
        if to.write_all(&bytes[..pass]).await.is_err() || is_cut {
            return;
        }
    }
}

/// Takes so many bytes of those that may still pass. Returns how many do, and whether the connection is cut behind them.
///
/// This is one step, because the connections share the number, and the test may mend the proxy at any moment.
fn take(left: &AtomicI64, bytes: usize) -> (usize, bool) {
    let wanted = i64::try_from(bytes).unwrap_or(i64::MAX);
    match left.fetch_update(Relaxed, Relaxed, |left| (left >= 0).then(|| (left - wanted).max(0))) {
        Ok(left) => (usize::try_from(left).unwrap_or(0).min(bytes), left <= wanted),
        Err(_unlimited) => (bytes, false),
    }
}
