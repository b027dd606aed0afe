//! A real nats-server on a free port, which ends with its test.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

use integration_tests::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A server that nobody is connected to.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    options: Vec<String>,
    /// Where it tells of itself, if it does.
    monitor: Option<u16>,
    process: Option<Child>,
}

impl NatsServer {
    /// Starts one.
    ///
    /// # Panics
    /// Where there is no `nats-server`, the Debian package of that name.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more options, as `["--user", "ann", "--pass", "secret"]`.
    ///
    /// # Panics
    /// Where there is no `nats-server`, or it does not start.
    #[must_use]
    pub fn with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        for _ in 0..20 {
            // Another process may take the port before the server does: then it is another one's turn.
            let port = free_port();
            if let Some(process) = launch(port, &options) {
                return Self { port, options, monitor: None, process: Some(process) };
            }
        }
        panic!("no nats-server started on a free port");
    }

    /// Starts one with the text of a configuration file.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[must_use]
    pub fn configured(text: &str) -> Self {
        let name = format!("greenroom-nats-{}-{:?}.conf", std::process::id(), thread::current().id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).expect("a file");
        let server = Self::with(&["--config", &file.display().to_string()]);
        let _ = std::fs::remove_file(file);
        server
    }

    /// Starts one that tells how many subscriptions it has.
    ///
    /// # Panics
    /// As [`with`](Self::with).
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

    /// Starts two that know each other.
    ///
    /// # Panics
    /// Where they do not find each other.
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

    /// How many subscriptions it has.
    ///
    /// # Panics
    /// Where it is not one that tells.
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

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `nats://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ends");
        }
    }

    /// Starts it again, on its port.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Some(launch(self.port, &self.options).expect("its port is free still"));
    }

    /// Stops it without ending it, as a machine does that has frozen.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().expect("there is kill");
        assert!(sent.success(), "the signal is sent");
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// Where it cannot be reached.
    pub async fn connect(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.expect("it is there")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian puts it where only root looks.
fn binary() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/nats-server";
    if std::path::Path::new(DEBIAN).is_file() { DEBIAN } else { "nats-server" }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

/// Starts a server, and waits until it serves; `None` where it could not have the port.
fn launch(port: u16, options: &[String]) -> Option<Child> {
    let mut process = Command::new(binary())
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is nats-server, of the Debian package of that name");
    let mut output = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line.contains("Server is ready") {
            // It must not stop for a full pipe.
            thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
            return Some(process);
        }
        line.clear();
    }
    let _ = process.wait();
    None
}
