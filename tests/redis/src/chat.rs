//! The chat example as a process, and pages that it serves.

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

/// The chat example, with `--layer`.
#[derive(Debug)]
pub struct Chat {
    process: tokio::process::Child,
    address: String,
}

impl Chat {
    /// Starts one.
    ///
    /// # Panics
    /// Where it does not start.
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

    /// Opens a page.
    ///
    /// # Panics
    /// Where it is not accepted.
    pub async fn join(&self, name: &str) -> Page {
        let url = format!("ws://{}/room/123/?name={name}", self.address);
        let (socket, _) = timeout(PATIENCE, connect_async(url)).await.expect("in time").expect("it accepts");
        let mut page = Page(socket);
        assert_eq!(page.next().await["type"], "chat.members");
        page
    }

    /// Stops it as an operator does.
    ///
    /// # Panics
    /// Where it does not end well.
    pub async fn stop(mut self) {
        let process = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &process]).status().expect("kill").success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("in time").expect("it ends");
        assert!(status.success(), "{status}");
    }
}

/// What `cargo build --workspace --bins` made of a program, beside this test.
///
/// # Panics
/// Where it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let this = env::current_exe().expect("a path");
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: `cargo build --workspace --bins`"))
}

/// A page of the chat: its socket.
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

    /// Who says what next, past who comes and goes.
    ///
    /// # Panics
    /// Where nothing is said in time.
    pub async fn said(&mut self) -> (String, String) {
        loop {
            let event = self.next().await;
            if event["type"] == "chat.message" {
                let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                return (field("user"), field("text"));
            }
        }
    }

    /// Says something.
    ///
    /// # Panics
    /// Where it is closed.
    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(json!({"text": text}).to_string())).await.expect("open");
    }
}
