//! A real nats-server on a free port. It ends with its test.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use async_nats::Subscriber;
use futures_util::StreamExt;
use integration_tests::PATIENCE;
use redis_tests::{ServerProcess, free_port};
use serde_json::Value;
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
    /// Where it keeps its streams, if it has JetStream.
    store: Option<PathBuf>,
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.process.kill();
        if let Some(store) = &self.store {
            let _ = std::fs::remove_dir_all(store);
            let _ = std::fs::remove_dir_all(store.with_extension("copy"));
        }
    }
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
        Self { process, monitor: None, store: None }
    }

    /// Starts a server with the text of a configuration file.
    ///
    /// # Panics
    /// In the cases of [`with`](Self::with).
    #[must_use]
    pub fn configured(text: &str) -> Self {
        with_file(text, |file| Self::with(&["--config", file]))
    }

    /// Starts a server with JetStream, which keeps its streams in files.
    ///
    /// # Panics
    /// In the cases of [`with`](Self::with).
    #[must_use]
    pub fn jetstream() -> Self {
        Self::jetstream_with(&[])
    }

    /// Starts a server with JetStream and more options.
    ///
    /// # Panics
    /// In the cases of [`with`](Self::with).
    #[must_use]
    pub fn jetstream_with(options: &[&str]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        let store = std::env::temp_dir().join(format!("greenroom-jetstream-{}-{number}", std::process::id()));
        let folder = store.display().to_string();
        let mut server = Self::with(&[&["-js", "-sd", &folder], options].concat());
        server.store = Some(store);
        server
    }

    /// Starts a server with JetStream, with the text of a configuration file.
    ///
    /// # Panics
    /// In the cases of [`with`](Self::with).
    #[must_use]
    pub fn jetstream_configured(text: &str) -> Self {
        with_file(text, |file| Self::jetstream_with(&["--config", file]))
    }

    /// Starts a cluster of three servers with JetStream, on which a stream can have three replicas.
    ///
    /// # Panics
    /// If the servers do not find each other.
    pub async fn jetstream_cluster() -> [Self; 3] {
        let routes = [(); 3].map(|()| format!("nats://127.0.0.1:{}", free_port()));
        let all = routes.join(",");
        let start = |own: usize| {
            let name = format!("server-{own}");
            let cluster = ["--cluster_name", "tests", "--cluster", &routes[own], "--routes", &all];
            Self::jetstream_with(&[&["--server_name", &name], &cluster[..]].concat())
        };
        let servers = [start(0), start(1), start(2)];
        let client = servers[0].connect().await;
        let ask = async |verb: &str| {
            let body = r#"{ "name": "trial", "subjects": ["trial"], "num_replicas": 3 }"#;
            let answer = client.request(format!("$JS.API.STREAM.{verb}.trial"), body.into()).await.ok()?;
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            answer.get("error").is_none().then_some(())
        };
        let ready = async {
            while ask("CREATE").await.is_none() {}
            ask("DELETE").await
        };
        timeout(PATIENCE, ready).await.expect("they choose a leader");
        servers
    }

    /// Which of these servers decides about the stream of the first policy, as this one says it.
    ///
    /// # Panics
    /// If it does not say one in time.
    pub async fn leader(&self) -> usize {
        let known = async {
            loop {
                let info = self.ask_stream("INFO", Value::Null).await;
                let name = info.pointer("/cluster/leader").and_then(Value::as_str);
                if let Some(number) = name.and_then(|name| name.strip_prefix("server-")?.parse().ok()) {
                    return number;
                }
            }
        };
        timeout(PATIENCE, known).await.expect("a leader")
    }

    fn store(&self) -> &Path {
        self.store.as_ref().expect("it has JetStream")
    }

    /// Copies the files of JetStream as they are now. The copy is gone with the server.
    ///
    /// # Panics
    /// If they cannot be copied.
    #[must_use]
    pub fn copy_files(&self) -> PathBuf {
        let copy = self.store().with_extension("copy");
        copy_folder(self.store(), &copy);
        copy
    }

    /// Puts files back that were copied, for a server that does not run.
    ///
    /// # Panics
    /// If they cannot be copied.
    pub fn put_files(&self, copy: &Path) {
        self.lose_files();
        copy_folder(copy, self.store());
    }

    /// Deletes the files of JetStream, for a server that does not run.
    ///
    /// # Panics
    /// If they cannot be deleted.
    pub fn lose_files(&self) {
        std::fs::remove_dir_all(self.store()).expect("its files");
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
        let told: Value = serde_json::from_str(body).expect("JSON");
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

    /// Asks JetStream about the stream of the first policy, as an operator does: `INFO`, `PURGE`, `DELETE`.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn ask_stream(&self, verb: &str, body: Value) -> Value {
        let subject = format!("$JS.API.STREAM.{verb}.GR_greenroom_0");
        let answer = self.connect().await.request(subject, body.to_string().into()).await.expect("JetStream");
        serde_json::from_slice(&answer.payload).expect("JSON")
    }

    /// Hears everything that is published to a subject from now on, by whichever connection.
    ///
    /// A client's `flush` only waits for the socket. So the server answers a message of the same connection here, and it
    /// reads a connection in order: when this returns, the server knows the subscription.
    ///
    /// # Panics
    /// If the server cannot be reached.
    pub async fn hear(&self, subject: &'static str) -> Subscriber {
        let client = self.connect().await;
        let subscriber = client.subscribe(subject).await.expect("it is connected");
        let inbox = client.new_inbox();
        let mut answered = client.subscribe(inbox.clone()).await.expect("it is connected");
        client.publish(inbox, "known".into()).await.expect("it is connected");
        timeout(PATIENCE, answered.next()).await.expect("in time").expect("it is connected");
        subscriber
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

/// Starts a server that reads a file with this text at its start.
fn with_file(text: &str, start: impl FnOnce(&str) -> NatsServer) -> NatsServer {
    let name = format!("greenroom-nats-{}-{:?}.conf", std::process::id(), thread::current().id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).expect("a file");
    let server = start(&file.display().to_string());
    let _ = std::fs::remove_file(file);
    server
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a file");
        }
    }
}

/// The path of `nats-server`: Debian's folder for it is only in root's `PATH`.
///
/// `GREENROOM_TEST_NATS` names another one, for a run with a newer server.
fn binary() -> String {
    const DEBIAN: &str = "/usr/sbin/nats-server";
    std::env::var("GREENROOM_TEST_NATS").unwrap_or_else(|_| {
        if std::path::Path::new(DEBIAN).is_file() { DEBIAN } else { "nats-server" }.to_owned()
    })
}
