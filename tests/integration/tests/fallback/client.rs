//! A client of the protocol in plain HTTP, with one socket for each request.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("an answer in UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head[9..12].parse().expect("a status");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The status, and the name of the error.
    pub(crate) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        (self.status, self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned())
    }
}

/// Sends a request. [`finish`] reads the answer.
pub(crate) async fn begin(
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut socket = TcpStream::connect(server).await.expect("the server listens");
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    // A server that refuses a body may close before it has the whole body.
    let _ = socket.write_all(&[head.as_bytes(), body].concat()).await;
    socket
}

/// Reads the answer to a request.
pub(crate) async fn finish(mut socket: TcpStream) -> Answer {
    let mut answer = Vec::new();
    // If the server closes with a body unread, the socket may be reset after the answer.
    let _ = socket.read_to_end(&mut answer).await;
    Answer::of(&answer)
}

pub(crate) async fn ask(
    server: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    finish(begin(server, method, target, headers, body).await).await
}

pub(crate) const OWN: (&str, &str) = ("greenroom-client", "1");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// A connection as its client sees it. Each request acknowledges the batches that the client has.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) server: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) id: String,
    pub(crate) ack: u64,
    pub(crate) seq: u64,
}

impl Client {
    pub(crate) async fn open(server: SocketAddr, path: &'static str) -> Self {
        let answer = ask(server, "POST", &format!("{path}?greenroom=open"), &[OWN], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::opened(server, path, &answer)
    }

    pub(crate) fn opened(server: SocketAddr, path: &'static str, answer: &Answer) -> Self {
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        Self { server, path, id, ack: 0, seq: 0 }
    }

    pub(crate) fn target(&self, asked: &str, more: &str) -> String {
        format!("{}?greenroom={asked}&id={}&{more}", self.path, self.id)
    }

    /// Begins a poll that waits for this many seconds.
    pub(crate) async fn begin_poll(&self, wait: u64) -> TcpStream {
        let target = self.target("poll", &format!("ack={}&wait={wait}", self.ack));
        begin(self.server, "GET", &target, &[], b"").await
    }

    pub(crate) async fn poll(&self, wait: u64) -> Answer {
        finish(self.begin_poll(wait).await).await
    }

    /// Takes a batch, which the next request acknowledges.
    pub(crate) fn take(&mut self, answer: &Answer) -> Value {
        assert_eq!(answer.status, 200, "{answer:?}");
        let batch = answer.json();
        let number = batch["batch"].as_u64().expect("a number");
        assert_eq!(number, self.ack + 1, "one batch after the other");
        self.ack = number;
        batch
    }

    /// Waits for the next batch.
    pub(crate) async fn batch(&mut self) -> Value {
        let answer = self.poll(20).await;
        self.take(&answer)
    }

    /// Waits for this many messages, in any number of batches.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<Value> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.batch().await["messages"].as_array().expect("a list").iter().cloned());
        }
        all
    }

    /// Waits for the close, and skips all messages before it.
    pub(crate) async fn close_of(&mut self) -> (u64, String) {
        loop {
            let close = &self.batch().await["close"];
            if let Some(code) = close["code"].as_u64() {
                return (code, close["reason"].as_str().expect("a reason").to_owned());
            }
        }
    }

    pub(crate) async fn post(&self, seq: u64, body: &[u8]) -> Answer {
        let target = self.target("send", &format!("seq={seq}&ack={}", self.ack));
        ask(self.server, "POST", &target, &[OWN, JSON], body).await
    }

    pub(crate) async fn send(&mut self, messages: &Value) {
        self.seq += 1;
        let answer = self.post(self.seq, messages.to_string().as_bytes()).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(&json!([text])).await;
    }

    pub(crate) async fn close(&self, body: &str) -> Answer {
        ask(self.server, "POST", &self.target("close", ""), &[OWN], body.as_bytes()).await
    }

    pub(crate) async fn events(&self, headers: &[(&str, &str)]) -> Events {
        let target = self.target("events", &format!("ack={}", self.ack));
        let socket = begin(self.server, "GET", &target, headers, b"").await;
        Events { socket, read: String::new() }
    }
}

/// A stream of server-sent events, in chunks of HTTP.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) socket: TcpStream,
    read: String,
}

impl Events {
    /// Reads up to an end, and includes it. The sizes of HTTP chunks are part of the text.
    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return Some(std::mem::replace(&mut self.read, rest));
            }
            let mut bytes = vec![0; 64 << 10];
            match self.socket.read(&mut bytes).await {
                Ok(count @ 1..) => self.read += std::str::from_utf8(&bytes[..count]).expect("UTF-8"),
                _ => return None,
            }
        }
    }

    /// Waits for the head, and the comment that follows it at once.
    pub(crate) async fn head(&mut self) -> String {
        self.until(": open\n\n").await.expect("a stream")
    }

    /// Waits for the next batch, with its id. Returns `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(u64, Value)> {
        self.until("id: ").await?;
        let id = self.until("\ndata: ").await?;
        let data = self.until("\n\n").await?;
        Some((
            id.trim_end_matches("\ndata: ").parse().expect("a number"),
            serde_json::from_str(data.trim()).expect("JSON"),
        ))
    }
}
