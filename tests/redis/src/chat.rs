//! The chat example as a process, and clients that stand for its pages.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use futures_util::{SinkExt, StreamExt};
use integration_tests::PATIENCE;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A process of the chat example, started with `--layer`.
#[derive(Debug)]
pub struct Chat {
    process: tokio::process::Child,
    address: String,
}

impl Chat {
    /// Starts the chat on a free port, and waits until it listens.
    ///
    /// # Panics
    /// If the chat does not start.
    pub async fn start(layer: &str) -> Self {
        let mut process = tokio::process::Command::new(program("chat"))
            .args(["--bind", "127.0.0.1:0", "--threads", "2", "--layer", layer])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let line =
            timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("a line").expect("a line");
        let address = line.strip_prefix("listening on http://").expect("its address").to_owned();
        Self { process, address }
    }

    /// Connects to room 123 as a page does.
    ///
    /// # Panics
    /// If the chat does not accept the connection.
    pub async fn join(&self, name: &str) -> Page {
        let url = format!("ws://{}/room/123/?name={name}", self.address);
        let (socket, _) = timeout(PATIENCE, connect_async(url)).await.expect("in time").expect("it accepts");
        let mut page = Page(socket);
        assert_eq!(page.next().await["type"], "chat.members");
        page
    }

    /// Stops the chat as an operator does (SIGTERM), and waits for its end.
    ///
    /// # Panics
    /// If the chat ends with an error.
    pub async fn stop(mut self) {
        let process = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &process]).status().expect("kill").success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("in time").expect("it ends");
        assert!(status.success(), "{status}");
    }
}

/// The path of a program that `cargo build --workspace --bins` has put beside this test.
///
/// # Panics
/// If the program is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let this = env::current_exe().expect("a path");
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: `cargo build --workspace --bins`"))
}

/// A page of the chat, reduced to its WebSocket.
#[derive(Debug)]
pub struct Page(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Page {
    async fn next(&mut self) -> Value {
        loop {
            let message =
                timeout(PATIENCE, self.0.next()).await.expect("in time").expect("open").expect("valid");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    /// The next chat message: its user and its text. Passes over joins and leaves.
    ///
    /// # Panics
    /// If no chat message comes in time.
    pub async fn said(&mut self) -> (String, String) {
        loop {
            let event = self.next().await;
            if event["type"] == "chat.message" {
                let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                return (field("user"), field("text"));
            }
        }
    }

    /// Sends a chat message.
    ///
    /// # Panics
    /// If the connection is closed.
    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(json!({"text": text}).to_string())).await.expect("open");
    }
}
