//! A real nats-server on a free port. It ends with its test.

use std::{
    ops::{Deref, DerefMut},
    process::Command,
    thread,
};

use integration_tests::PATIENCE;
use redis_tests::{ServerProcess, free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A NATS server that only its test uses.
#[derive(Debug)]
pub struct NatsServer {
    process: ServerProcess,
    /// The port of its monitoring page, if it has one.
    monitor: Option<u16>,
}

impl NatsServer {
    /// Starts a server.
    ///
    /// # Panics
    /// If `nats-server`, from the Debian package of that name, is not installed.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more options, such as `["--user", "ann", "--pass", "secret"]`.
    ///
    /// # Panics
    /// If `nats-server` is not installed, or does not start.
    #[must_use]
    pub fn with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = ServerProcess::start(
            move |port| {
                let mut command = Command::new(binary());
                command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]).args(&options);
                command
            },
            |line| line.contains("Server is ready"),
        );
        Self { process, monitor: None }
    }

    /// Starts a server with the text of a configuration file.
    ///
    /// # Panics
    /// In the cases of [`with`](Self::with).
    #[must_use]
    pub fn configured(text: &str) -> Self {
        let name = format!("greenroom-nats-{}-{:?}.conf", std::process::id(), thread::current().id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).expect("a file");
        let server = Self::with(&["--config", &file.display().to_string()]);
        let _ = std::fs::remove_file(file);
        server
    }

    /// Starts a server whose [`subscriptions`](Self::subscriptions) can be counted.
    ///
    /// # Panics
    /// In the cases of [`with`](Self::with).
    #[must_use]
    pub fn watched() -> Self {
        Self::watched_with(&[])
    }

    fn watched_with(options: &[&str]) -> Self {
        let monitor = free_port();
        let port = monitor.to_string();
        let monitored = [options, &["--http_port", &port]].concat();
        let mut server = Self::with(&monitored);
        server.monitor = Some(monitor);
        server
    }

    /// Starts a cluster of two servers. Both can count their subscriptions.
    ///
    /// # Panics
    /// If the servers do not find each other.
    pub async fn cluster() -> (Self, Self) {
        let places: Vec<String> =
            [free_port(), free_port()].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let start = |own: usize, other: usize| {
            let options = ["--cluster_name", "tests", "--cluster", &places[own], "--routes", &places[other]];
            Self::watched_with(&options)
        };
        let (first, second) = (start(0, 1), start(1, 0));
        let known = async { while first.tells("routes").await == 0 || second.tells("routes").await == 0 {} };
        timeout(PATIENCE, known).await.expect("they find each other");
        (first, second)
    }

    /// How many subscriptions the server has.
    ///
    /// # Panics
    /// If it was not started by [`watched`](Self::watched) or [`cluster`](Self::cluster).
    pub async fn subscriptions(&self) -> u64 {
        self.tells("subscriptions").await
    }

    async fn tells(&self, what: &str) -> u64 {
        let monitor = self.monitor.expect("a watched server");
        let mut stream = TcpStream::connect(("127.0.0.1", monitor)).await.expect("it is there");
        stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n").await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let told: serde_json::Value = serde_json::from_str(body).expect("JSON");
        told[what].as_u64().expect("a number")
    }

    /// `nats://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// Connects the test itself to the server.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub async fn connect(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.expect("it is there")
    }
}

/// The methods of the process: end it, restart it, freeze it.
impl Deref for NatsServer {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        &self.process
    }
}

impl DerefMut for NatsServer {
    fn deref_mut(&mut self) -> &mut ServerProcess {
        &mut self.process
    }
}

/// The path of `nats-server`: Debian's folder for it is only in root's `PATH`.
fn binary() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/nats-server";
    if std::path::Path::new(DEBIAN).is_file() { DEBIAN } else { "nats-server" }
}
