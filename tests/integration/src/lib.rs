//! Parts that the tests share: clients, the log, and waits with a time limit.

pub mod clients;
pub mod history;
pub mod http;
pub mod log;
pub mod nginx;
mod ports;
pub mod program;
pub mod raw;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use self::ports::free_port;
use futures_util::{SinkExt, StreamExt};
use greenroom::testing::LiveServer;
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
pub use tokio_tungstenite::tungstenite;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

/// Longer than anything that should happen takes, beside much else that runs; a wait that ends here is a failed test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A WebSocket client over a real socket.
#[derive(Debug)]
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects to a path of a server in another process.
    pub async fn at(address: SocketAddr, path: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{path}")).await.expect("a handshake");
        Self(socket)
    }

    /// Connects to a path of `server`.
    pub async fn connect(server: &LiveServer, path: &str) -> Self {
        Self::try_connect(server, path, &[]).await.expect("the server accepts")
    }

    /// Connects with more headers. The error is the status of the refusal.
    pub async fn try_connect(server: &LiveServer, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = server.ws_url(path).into_client_request().expect("a valid address");
        for (name, value) in headers {
            let name =
                tokio_tungstenite::tungstenite::http::HeaderName::try_from(*name).expect("a header name");
            request.headers_mut().insert(name, value.parse().expect("a header value"));
        }
        match timeout(PATIENCE, connect_async(request)).await.expect("an answer in time") {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("cannot connect: {error}"),
        }
    }

    /// Sends a text message.
    pub async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("the server reads");
    }

    /// Queues a text message without flushing it.
    pub async fn feed(&mut self, text: &str) {
        self.0.feed(Message::text(text)).await.expect("the server reads");
    }

    /// Flushes what was fed.
    pub async fn flush(&mut self) {
        self.0.flush().await.expect("the server reads");
    }

    /// Waits for the next text message.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    /// Waits for the next message of any kind but a ping.
    pub async fn next(&mut self) -> Message {
        let message = async {
            loop {
                let message = self.0.next().await.expect("the connection is open").expect("a valid message");
                if !matches!(message, Message::Ping(_)) {
                    return message;
                }
            }
        };
        // The pings of a server do not make it longer.
        timeout(PATIENCE, message).await.expect("a message in time")
    }

    /// Sends a ping.
    pub async fn ping(&mut self, payload: &str) {
        self.0.send(Message::Ping(payload.to_owned().into())).await.expect("the server reads");
    }

    /// Sends messages until the server takes no more of them for a while, and says how many bytes it took.
    pub async fn fill(&mut self, message: &[u8]) -> usize {
        let mut taken = 0;
        while timeout(Duration::from_millis(300), self.0.send(Message::binary(message.to_vec())))
            .await
            .is_ok()
        {
            taken += message.len();
            assert!(taken < 256 << 20, "the server takes any number of bytes");
        }
        taken
    }

    /// Waits for the server's close frame and for the end of TCP, and skips all messages before them.
    pub async fn closed(&mut self) -> (u16, String) {
        let mut frame = (1006, String::new());
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    frame = (code.into(), reason.to_string());
                }
                Some(Ok(Message::Close(None))) => frame = (1005, String::new()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return frame,
            }
        }
    }

    /// Closes with 1000, and waits for the answer.
    pub async fn close(mut self) -> (u16, String) {
        self.0
            .send(Message::Close(Some(CloseFrame { code: 1000.into(), reason: "".into() })))
            .await
            .expect("the connection is open");
        self.closed().await
    }

    /// Ends TCP without a close frame.
    pub fn abort(self) {
        drop(self.0);
    }
}

/// Waits until `done` returns true. If it never does, the panic says what was waited for.
pub async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Notes of what happened, in order. Clones share the notes.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Adds a note.
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    /// All notes so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A gate at which hooks wait until the test opens it, once for each visitor. Clones share the gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<Semaphore>,
    arrived: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), arrived: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// Waits until the gate opens.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.expect("the gate is never closed").forget();
    }

    /// Lets one visitor pass.
    pub fn open(&self) {
        self.open.add_permits(1);
    }

    /// Waits until a visitor stands at the gate.
    pub async fn visited(&self) {
        timeout(PATIENCE, self.arrived.acquire())
            .await
            .expect("a visitor in time")
            .expect("never closed")
            .forget();
    }
}
