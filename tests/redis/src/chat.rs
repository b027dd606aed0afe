//! The chat example as a process, and clients that stand for its pages.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use futures_util::{SinkExt, StreamExt};
use integration_tests::{
    PATIENCE,
    history::{Memory, Reader},
};
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
        Self::start_with(layer, &[]).await
    }

    /// Starts the chat with a clock that is wrong by so much: `+30s`.
    ///
    /// # Panics
    /// If the chat does not start, or if libfaketime, from the Debian package of that name, is not installed.
    pub async fn start_at(layer: &str, clock: &str) -> Self {
        let library = std::fs::read_dir("/usr/lib")
            .expect("a folder")
            .flatten()
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.is_file())
            .expect("libfaketime is installed. Debian has it as a package");
        let library = library.display().to_string();
        let environment =
            [("LD_PRELOAD", &*library), ("FAKETIME", clock), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        Self::start_with(layer, &environment).await
    }

    async fn start_with(layer: &str, environment: &[(&str, &str)]) -> Self {
        let mut process = tokio::process::Command::new(program("chat"))
            .args(["--bind", "127.0.0.1:0", "--threads", "2", "--layer", layer])
            .env("RUST_LOG", "warn")
            .envs(environment.iter().copied())
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

    /// Connects to room 123 as greenroom.js does: for the first time, or with what was heard before.
    pub async fn read(&self, memory: Option<Memory>) -> Reader {
        Reader::at(self.address.parse().expect("an address"), "/room/123/?name=reader", memory).await
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

/// The clocks of two chats differ by a minute, and a client goes back and forth between them: it misses nothing.
///
/// # Panics
/// If it does, or if it is told so.
pub async fn assert_clocks_change_nothing(layer: &str) {
    let (ahead, late) = (Chat::start_at(layer, "+30s").await, Chat::start_at(layer, "-30s").await);
    let mut speakers = [ahead.join("ann").await, late.join("bob").await];
    let mut reader = ahead.read(None).await;
    reader.joined().await;
    let mut said = 0;
    let mut heard = 0;
    for chat in [&late, &ahead, &late, &ahead] {
        for _ in 0..4 {
            speakers[said % 2].say(&format!("message {said}")).await;
            // The next speaker answers to it.
            for speaker in &mut speakers {
                assert_eq!(speaker.said().await.1, format!("message {said}"));
            }
            said += 1;
        }
        while heard < said {
            let event: Value = serde_json::from_str(&reader.text().await).expect("JSON");
            if event["type"] == "chat.message" {
                assert_eq!(event["text"], format!("message {heard}"));
                heard += 1;
            }
            // It goes in the middle of what was said.
            if heard + 2 == said {
                break;
            }
        }
        reader = chat.read(Some(reader.cut())).await;
        assert_eq!(reader.outcome(), "recovered");
    }
    while heard < said {
        let event: Value = serde_json::from_str(&reader.text().await).expect("JSON");
        if event["type"] == "chat.message" {
            assert_eq!(event["text"], format!("message {heard}"));
            heard += 1;
        }
    }
    assert_eq!(heard, 16);
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
        let text = async {
            loop {
                if let Message::Text(text) = self.0.next().await.expect("open").expect("valid") {
                    return text;
                }
            }
        };
        // The pings of the server do not make it longer.
        serde_json::from_str(&timeout(PATIENCE, text).await.expect("in time")).expect("JSON")
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
