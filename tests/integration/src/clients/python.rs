//! The client in Python, which was written from the description of the protocol alone. It is a child process, driven by
//! lines of JSON.

use std::{net::SocketAddr, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Heard, Opened, Refused, Said, TestClient};
use crate::PATIENCE;

/// A client in its own process, which ends with the client.
#[derive(Debug)]
struct Python {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Python {
    async fn open(
        transport: &str,
        address: SocketAddr,
        path: &str,
        protocols: &[&str],
    ) -> Result<Opened<Self>, Refused> {
        let mut client = Self::start();
        let answer = client.connect(transport, address, path, protocols, false).await?;
        let protocol = answer["opened"].as_str().map(str::to_owned);
        Ok(Opened { client, protocol })
    }

    /// Starts the process. It has no connection yet.
    fn start() -> Self {
        let program = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut child = Command::new(program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/driver.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 is installed");
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("both are pipes");
        Self { child, input, output: BufReader::new(output).lines() }
    }

    /// Opens a connection. Whatever was open before is left as it is. With `history` it goes on where that one was.
    async fn connect(
        &mut self,
        transport: &str,
        address: SocketAddr,
        path: &str,
        protocols: &[&str],
        history: bool,
    ) -> Result<Value, Refused> {
        let url = format!("http://{address}{path}");
        let open = json!({
            "do": "open", "url": url, "protocols": protocols, "transport": transport, "history": history,
        });
        let answer = self.call(&open).await;
        if let Some(refused) = answer.get("refused") {
            let status =
                refused["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status");
            return Err(Refused { status, body: text(&refused["body"]) });
        }
        Ok(answer)
    }

    /// Lets the client do one thing, and waits for the outcome.
    async fn call(&mut self, command: &Value) -> Value {
        let line = format!("{command}\n");
        self.input.write_all(line.as_bytes()).await.expect("the client runs");
        let line = timeout(PATIENCE, self.output.next_line()).await.expect("an outcome in time");
        let line = line.expect("the client runs").expect("the client has not failed: see its errors above");
        serde_json::from_str(&line).expect("JSON")
    }

    async fn send(&mut self, message: Said) -> bool {
        let answer = match message {
            Said::Binary(bytes) => self.call(&json!({"do": "send", "binary": STANDARD.encode(bytes)})).await,
            Said::Text(text) => self.call(&json!({"do": "send", "text": text})).await,
        };
        answer["sent"].as_bool().expect("whether it was sent")
    }

    async fn receive(&mut self) -> Heard {
        let heard = self.call(&json!({"do": "receive"})).await;
        if let Some(closed) = heard.get("closed") {
            let code = closed["code"].as_u64().and_then(|code| code.try_into().ok()).expect("a code");
            return Heard::Closed { code, reason: text(&closed["reason"]) };
        }
        Heard::Message(match heard.get("binary") {
            Some(binary) => Said::Binary(STANDARD.decode(text(binary)).expect("base64")),
            None => Said::Text(text(&heard["text"])),
        })
    }

    async fn request(&mut self, input: &Value) -> Result<Value, (String, String)> {
        let mut answer = self.call(&json!({"do": "request", "input": input})).await;
        match answer.get("error") {
            Some(error) => Err((text(&error["code"]), text(&error["text"]))),
            None => Ok(answer["value"].take()),
        }
    }

    async fn close(mut self, code: Option<u16>, reason: &str) {
        self.call(&json!({"do": "close", "code": code, "reason": reason})).await;
    }

    async fn vanish(mut self) {
        self.child.kill().await.expect("the client ran");
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

macro_rules! client {
    ($(#[$doc:meta])* $name:ident, $transport:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Python);

        impl $name {
            /// Sends a request, and waits for its answer.
            ///
            /// # Errors
            /// The code and the text of the server's error.
            pub async fn request(&mut self, input: &Value) -> Result<Value, (String, String)> {
                self.0.request(input).await
            }
        }

        impl TestClient for $name {
            const IS_SEEN_TO_VANISH: bool = false;

            async fn open(
                address: SocketAddr,
                path: &str,
                protocols: &[&str],
            ) -> Result<Opened<Self>, Refused> {
                let opened = Python::open($transport, address, path, protocols).await?;
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
                self.0.vanish().await;
            }
        }
    };
}

client! {
    /// Receives by server-sent events, and sends by POST, in Python.
    PythonEventStream, "events"
}
client! {
    /// Receives by polls that the server holds until it has a message, in Python.
    PythonLongPolling, "long"
}
client! {
    /// Receives by polls that are answered at once, in Python.
    PythonPolling, "poll"
}

/// A client in Python that goes on after a loss.
#[derive(Debug)]
pub struct PythonResuming {
    python: Python,
    transport: &'static str,
}

impl PythonResuming {
    /// Starts a client that receives by `events`, `long` polls, or `poll`. It has no connection yet.
    #[must_use]
    pub fn new(transport: &'static str) -> Self {
        Self { python: Python::start(), transport }
    }

    /// Connects, and leaves the connection before as it is. Returns whether all that was missed comes now.
    ///
    /// # Panics
    /// If the server refuses the client.
    pub async fn connect(&mut self, address: SocketAddr, path: &str) -> bool {
        let answer = self.python.connect(self.transport, address, path, &[], true).await;
        answer.expect("the client is let in")["recovered"].as_bool().expect("whether it is recovered")
    }

    /// Waits for so many texts.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            match self.python.receive().await {
                Heard::Message(Said::Text(text)) => texts.push(text),
                other => panic!("{other:?} after {texts:?}"),
            }
        }
        texts
    }

    /// Closes the connection. It keeps what it needs to go on.
    pub async fn close(&mut self) {
        self.python.call(&json!({"do": "close", "code": 1000, "reason": ""})).await;
    }

    /// The reasons why something is missing, since the last call.
    pub async fn lost(&mut self) -> Vec<String> {
        let answer = self.python.call(&json!({"do": "lost"})).await;
        let lost: Vec<(String, String)> = serde_json::from_value(answer["lost"].clone()).expect("pairs");
        lost.into_iter().map(|(_, reason)| reason).collect()
    }
}
