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
        let program = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut child = Command::new(program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/driver.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 is installed");
        let (input, output) = child.stdin.take().zip(child.stdout.take()).expect("both are pipes");
        let mut client = Self { child, input, output: BufReader::new(output).lines() };
        let url = format!("http://{address}{path}");
        let answer = client
            .call(&json!({"do": "open", "url": url, "protocols": protocols, "transport": transport}))
            .await;
        if let Some(refused) = answer.get("refused") {
            let status =
                refused["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status");
            return Err(Refused { status, body: text(&refused["body"]) });
        }
        let protocol = answer["opened"].as_str().map(str::to_owned);
        Ok(Opened { client, protocol })
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
