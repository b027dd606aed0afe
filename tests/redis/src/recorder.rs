//! A proxy that keeps all bytes that pass, so that a test can look for a secret in them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// Passes bytes on between clients and a server on 127.0.0.1, and keeps a copy.
///
/// It has a thread of its own, because a layer that is dropped blocks the thread of its test until it has left.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    /// What each direction of each connection has passed on.
    passed: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The recorder ends when this is dropped.
    _end: oneshot::Sender<()>,
}

impl Recorder {
    /// Starts a recorder before the server on this port.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(server: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("the listener is bound").port();
        let passed = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&passed);
        let (_end, ended) = oneshot::channel();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, server, kept) => {}
                    _ = ended => {}
                }
            });
        });
        Self { port, passed, _end }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many bytes have passed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.passed().iter().map(Vec::len).sum()
    }

    /// Whether this text has passed in clear.
    #[must_use]
    pub fn has_heard(&self, text: &str) -> bool {
        self.passed().iter().any(|passed| passed.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, server: u16, kept: Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::from_std(listener).expect("a runtime");
    while let Ok((client, _)) = listener.accept().await {
        let kept = Arc::clone(&kept);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            // When one direction ends, both are dropped.
            tokio::select! {
                () = pass(from_client, to_server, &kept) => {}
                () = pass(from_server, to_client, &kept) => {}
            }
        });
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, kept: &Mutex<Vec<Vec<u8>>>) {
    let number = {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Vec::new());
        kept.len() - 1
    };
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        kept.lock().unwrap_or_else(PoisonError::into_inner)[number].extend_from_slice(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
