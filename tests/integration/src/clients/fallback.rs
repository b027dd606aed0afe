//! The fallback transports, over plain HTTP.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Heard, Opened, Refused, Said, TestClient};
use crate::http::{Head, Http};

/// How a client gets its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    EventStream,
    LongPolling,
    Polling,
}

/// A connection over plain HTTP requests.
#[derive(Debug)]
struct Fallback {
    kind: Kind,
    address: SocketAddr,
    path: String,
    id: String,
    /// The number of the last batch that arrived.
    ack: u64,
    /// The number of the last batch that an `ack` request acknowledged.
    acked: u64,
    /// How many bytes of a stream came since the last acknowledgement.
    unacknowledged: usize,
    /// The number of the last request with messages.
    seq: u64,
    /// The socket for requests that are answered at once.
    asking: Http,
    /// The socket for requests that wait.
    waiting: Option<Http>,
    /// The part of the stream that is not yet a whole event.
    partial: String,
    heard: VecDeque<Heard>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    protocol: Option<String>,
}

#[derive(Deserialize)]
struct Batch {
    batch: u64,
    messages: Vec<Value>,
    close: Option<Close>,
}

#[derive(Deserialize)]
struct Close {
    code: u16,
    reason: String,
}

impl Fallback {
    async fn open(
        kind: Kind,
        address: SocketAddr,
        path: &str,
        protocols: &[&str],
    ) -> Result<Opened<Self>, Refused> {
        let mut asking = Http::open(address).await;
        let body =
            if protocols.is_empty() { String::new() } else { json!({"protocols": protocols}).to_string() };
        let (path, query) =
            path.split_once('?').map_or((path, String::new()), |(path, query)| (path, format!("&{query}")));
        let headers = [("greenroom-client", "1"), ("content-type", "application/json")];
        let target = format!("{path}?greenroom=open{query}");
        let (head, body) = asking.ask("POST", &target, &headers, body.as_bytes()).await;
        if head.status != 200 {
            return Err(Refused { status: head.status, body });
        }
        let Answer { id, protocol } = serde_json::from_str(&body).expect("the answer to an open");
        let client = Self {
            kind,
            address,
            path: path.to_owned(),
            id,
            ack: 0,
            acked: 0,
            unacknowledged: 0,
            seq: 0,
            asking,
            waiting: None,
            partial: String::new(),
            heard: VecDeque::new(),
        };
        Ok(Opened { client, protocol })
    }

    fn target(&self, what: &str, more: &str) -> String {
        format!("{}?greenroom={what}&id={}{more}", self.path, self.id)
    }

    async fn post(&mut self, target: &str, body: &str) -> (Head, String) {
        let headers = [("greenroom-client", "1"), ("content-type", "application/json")];
        self.asking = Http::open(self.address).await;
        self.asking.ask("POST", target, &headers, body.as_bytes()).await
    }

    async fn send(&mut self, message: Said) -> bool {
        self.seq += 1;
        let body = json!([match message {
            Said::Binary(bytes) => json!({"binary": STANDARD.encode(bytes)}),
            Said::Text(text) => json!(text),
        }]);
        let target = self.target("send", &format!("&seq={}&ack={}", self.seq, self.ack));
        loop {
            let (head, answer) = self.post(&target, &body.to_string()).await;
            match head.status {
                204 => return true,
                // The consumer takes no more messages for the moment.
                503 if head.header("retry-after").is_some() => {}
                410 | 413 => return false,
                status => panic!("{status} {answer}"),
            }
        }
    }

    async fn receive(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            match self.kind {
                Kind::EventStream => self.read_event().await,
                Kind::LongPolling => self.poll(20).await,
                Kind::Polling => self.poll(0).await,
            }
        }
    }

    async fn poll(&mut self, wait: u32) {
        let target = self.target("poll", &format!("&ack={}&wait={wait}", self.ack));
        let mut http = match self.waiting.take() {
            Some(http) => http,
            None => Http::open(self.address).await,
        };
        http.request("GET", &target, &[], b"").await;
        // The server may have closed an idle socket.
        let Some(head) = http.try_head().await else { return };
        let (body, _) = http.body(&head).await;
        match head.status {
            200 => self.take(&body),
            204 => tokio::time::sleep(Duration::from_millis(2)).await,
            410 => self.heard.push_back(Heard::Closed { code: 1006, reason: String::new() }),
            status => panic!("{status} {body}"),
        }
        self.waiting = Some(http);
    }

    async fn read_event(&mut self) {
        if self.waiting.is_none() {
            let mut http = Http::open(self.address).await;
            let head = http.get(&self.target("events", &format!("&ack={}", self.ack))).await;
            if head.status == 410 {
                return self.heard.push_back(Heard::Closed { code: 1006, reason: String::new() });
            }
            assert_eq!(
                (head.status, head.header("content-type")),
                (200, Some("text/event-stream")),
                "{head:?}"
            );
            self.partial.clear();
            self.waiting = Some(http);
        }
        let Some(http) = &mut self.waiting else { return };
        match http.chunk().await {
            Ok(chunk) => {
                self.unacknowledged += chunk.len();
                self.partial += &chunk;
            }
            Err(_) => return self.waiting = None,
        }
        while let Some((event, rest)) = self.partial.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            self.partial = rest;
            for line in event.lines() {
                if let Some(data) = line.strip_prefix("data: ") {
                    self.take(data);
                }
            }
        }
        if self.ack >= self.acked + 32 || self.unacknowledged >= 64 << 10 {
            (self.acked, self.unacknowledged) = (self.ack, 0);
            let target = self.target("ack", &format!("&ack={}", self.ack));
            // If the connection has ended meanwhile, the stream says so.
            self.post(&target, "").await;
        }
    }

    /// Takes a batch. A batch that came before is ignored.
    fn take(&mut self, text: &str) {
        let Batch { batch, messages, close } = serde_json::from_str(text).expect("a batch");
        if batch <= self.ack {
            return;
        }
        let slow = close.as_ref().is_some_and(|close| close.code == 1013);
        assert!(batch == self.ack + 1 || slow, "batches are missing: {batch} came after {}", self.ack);
        self.ack = batch;
        for message in messages {
            self.heard.push_back(Heard::Message(match message {
                Value::String(text) => Said::Text(text),
                other => {
                    let text = other["binary"].as_str().expect("a text or a binary message");
                    Said::Binary(STANDARD.decode(text).expect("base64"))
                }
            }));
        }
        if let Some(Close { code, reason }) = close {
            self.heard.push_back(Heard::Closed { code, reason });
        }
    }

    async fn close(mut self, code: Option<u16>, reason: &str) {
        let body = code.map_or_else(String::new, |code| json!({"code": code, "reason": reason}).to_string());
        let (head, body) = self.post(&self.target("close", ""), &body).await;
        assert_eq!(head.status, 204, "{body}");
    }
}

macro_rules! client {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Fallback);

        impl TestClient for $name {
            const IS_SEEN_TO_VANISH: bool = false;

            async fn open(
                address: SocketAddr,
                path: &str,
                protocols: &[&str],
            ) -> Result<Opened<Self>, Refused> {
                let opened = Fallback::open(Kind::$name, address, path, protocols).await?;
                Ok(Opened { client: Self(opened.client), protocol: opened.protocol })
            }

            async fn send(&mut self, message: Said) -> bool {
                self.0.send(message).await
            }

            async fn receive(&mut self) -> Heard {
                self.0.receive().await
            }

            async fn close(self, code: Option<u16>, reason: &str) {
                self.0.close(code, reason).await;
            }

            async fn vanish(self) {
                drop(self.0);
            }
        }
    };
}

client! {
    /// Receives by server-sent events, and sends by POST.
    EventStream
}
client! {
    /// Receives by polls that the server holds until it has a message.
    LongPolling
}
client! {
    /// Receives by polls that are answered at once.
    Polling
}
