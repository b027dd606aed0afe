//! Two chat servers and a Django on one Redis.

use std::{
    env,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use futures_util::{SinkExt, StreamExt};
use integration_tests::PATIENCE;
use redis_tests::{Python, RedisServer, eventually};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// The chat example, with `--layer`.
struct Chat {
    process: tokio::process::Child,
    address: String,
}

impl Chat {
    async fn start(layer: &str) -> Self {
        let mut process = tokio::process::Command::new(binary())
            .args(["--bind", "127.0.0.1:0", "--workers", "2", "--layer", layer])
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

    async fn join(&self, name: &str) -> Page {
        let url = format!("ws://{}/room/123/?name={name}", self.address);
        let (socket, _) = timeout(PATIENCE, connect_async(url)).await.expect("in time").expect("it accepts");
        let mut page = Page(socket);
        assert_eq!(page.next().await["type"], "chat.members");
        page
    }

    /// Stops it as an operator does.
    async fn stop(mut self) {
        let process = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &process]).status().expect("kill").success());
        let status = timeout(PATIENCE, self.process.wait()).await.expect("in time").expect("it ends");
        assert!(status.success(), "{status}");
    }
}

/// What `cargo build -p chat` made, beside this test.
fn binary() -> PathBuf {
    let this = env::current_exe().expect("a path");
    let found =
        this.ancestors().skip(1).take(2).map(|folder| folder.join("chat")).find(|path| path.is_file());
    found.expect("the chat example is not built: `cargo build -p chat`")
}

struct Page(WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

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

    /// What is said next, past who comes and goes.
    async fn said(&mut self) -> (String, String) {
        loop {
            let event = self.next().await;
            if event["type"] == "chat.message" {
                let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                return (field("user"), field("text"));
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(json!({"text": text}).to_string())).await.expect("open");
    }
}

fn said(user: &str, text: &str) -> (String, String) {
    (user.to_owned(), text.to_owned())
}

/// Ten pages on each of two servers, and Python: what one says, all see, once and in order.
async fn everyone_hears_everyone(scheme: &str, kind: &str) {
    let server = RedisServer::start();
    let url = server.url().replace("redis://", scheme);
    let chats = [Chat::start(&url).await, Chat::start(&url).await];
    let mut pages = Vec::new();
    for chat in &chats {
        for number in 0..10 {
            pages.push(chat.join(&format!("page{number}")).await);
        }
    }
    let mut python = Python::start(kind, &json!({"hosts": [server.url()]})).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("chat_123"), theirs.clone()]).await;

    let message = "{'type': 'chat.message', 'user': 'django', 'text': 'hi'}";
    python.must("group_send", &[json!("chat_123"), json!(message)]).await;
    for page in &mut pages {
        assert_eq!(page.said().await, said("django", "hi"));
    }
    assert_eq!(python.receive(&theirs).await, message);
    for (speaker, text) in [(0, "from the first"), (19, "from the second")] {
        pages[speaker].say(text).await;
        for page in &mut pages {
            assert_eq!(page.said().await, said(&format!("page{}", speaker % 10), text));
        }
        let heard = python.receive(&theirs).await;
        assert!(heard.contains(&format!("'text': '{text}'")), "{heard}");
    }
    drop(pages);
    for chat in chats {
        chat.stop().await;
    }
    // One name was the Python process' own.
    eventually("both have left", || server.run::<u64>(&["ZCARD", "asgi:group:chat_123"]) <= 1).await;
}

#[actix_web::test]
async fn everyone_hears_everyone_over_core() {
    everyone_hears_everyone("redis://", "core").await;
}

#[actix_web::test]
async fn everyone_hears_everyone_over_pubsub() {
    everyone_hears_everyone("redis-pubsub://", "pubsub").await;
}

/// A layer that is none, or cannot be reached, is said in a line, and ends the program.
#[actix_web::test]
async fn a_wrong_layer_is_said() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (layer, says) in
        [("rabbit://x", "rabbit"), (&format!("redis://{free}"), "refused"), ("redis://", "URL")]
    {
        let chat: Child = Command::new(binary())
            .args(["--bind", "127.0.0.1:0", "--layer", layer])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = chat.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(says), "{layer}: {text}");
    }
}
