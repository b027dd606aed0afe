//! A way to a server that a test can cut.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    task::JoinSet,
};

/// Passes bytes on between clients and a server on 127.0.0.1.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    /// How many bytes more the clients get from the server; negative for all.
    left: Arc<AtomicI64>,
}

impl Proxy {
    /// Starts one in front of the server on this port. It ends with its runtime.
    ///
    /// # Panics
    /// Where there is no port for it.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let left = Arc::new(AtomicI64::new(-1));
        actix_web::rt::spawn(serve(listener, server, Arc::clone(&left)));
        Self { port, left }
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

    /// Cuts every connection when the clients have got so many bytes more: in the middle of a message, if that is long enough.
    pub fn cut_after(&self, bytes: i64) {
        self.left.store(bytes, Relaxed);
    }

    /// Whether it has cut.
    #[must_use]
    pub fn has_cut(&self) -> bool {
        self.left.load(Relaxed) == 0
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        self.left.store(-1, Relaxed);
    }
}

async fn serve(listener: TcpListener, server: u16, left: Arc<AtomicI64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let left = Arc::clone(&left);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
            let (from_client, mut to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            let up = async {
                let mut from_client = from_client;
                tokio::io::copy(&mut from_client, &mut to_server).await
            };
            // Both sides are dropped with the first that ends.
            tokio::select! {
                _ = up => {}
                () = down(from_server, &mut to_client, &left) => {}
            }
        });
    }
}

async fn down(mut from: OwnedReadHalf, to: &mut tokio::net::tcp::OwnedWriteHalf, left: &AtomicI64) {
    let mut buffer = [0; 4096];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let allowed = left.load(Relaxed);
        let pass = if allowed < 0 { read } else { read.min(usize::try_from(allowed).unwrap_or(0)) };
        if to.write_all(&buffer[..pass]).await.is_err() {
            return;
        }
        if allowed >= 0 {
            left.store(allowed - pass as i64, Relaxed);
            if pass < read || allowed == pass as i64 {
                left.store(0, Relaxed);
                return;
            }
        }
    }
}
