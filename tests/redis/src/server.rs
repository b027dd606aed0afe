//! A real redis-server on a free port, which ends with its test.

use std::{
    ops::{Deref, DerefMut},
    process::Command,
};

use conformance_tests::faulty::ServerProcess;

/// A server with nothing on it, that keeps nothing.
#[derive(Debug)]
pub struct RedisServer(ServerProcess);

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// Where there is no `redis-server`, the Debian package of that name.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more options, as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// Where there is no `redis-server`, or it does not start.
    #[must_use]
    pub fn with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        Self(ServerProcess::start(
            move |port| command(port, &options),
            |line| {
                line.to_lowercase().contains("ready to accept connections") || line.contains("Sentinel ID is")
            },
        ))
    }

    /// Starts a sentinel that watches `master` under the name `mymaster`.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn sentinel(master: &Self) -> Self {
        let folder = std::env::temp_dir().join(format!("greenroom-sentinel-{}", master.port()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("sentinel.conf");
        // A sentinel keeps its state in the file that it is configured by.
        std::fs::write(&file, format!("sentinel monitor mymaster 127.0.0.1 {} 1\n", master.port()))
            .expect("a file");
        Self::with(&["--sentinel", &file.display().to_string()])
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// Where it cannot be reached.
    #[must_use]
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).and_then(|client| client.get_connection()).expect("it is there")
    }

    /// Runs one command of the test's own.
    ///
    /// # Panics
    /// Where it fails.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut request = redis::cmd(command[0]);
        request.arg(&command[1..]);
        request.query(&mut self.connect()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

/// What is done with the process: ended, restarted, frozen.
impl Deref for RedisServer {
    type Target = ServerProcess;

    fn deref(&self) -> &ServerProcess {
        &self.0
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut ServerProcess {
        &mut self.0
    }
}

fn command(port: u16, options: &[String]) -> Command {
    let mut command = Command::new("redis-server");
    let mut options = options;
    if let [first, file, others @ ..] = options
        && first == "--sentinel"
    {
        // The file comes first.
        command.args([file, "--sentinel"]);
        options = others;
    } else {
        command.args(["--save", "", "--appendonly", "no"]);
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "/tmp", "--daemonize", "no"]);
    command.args(options);
    command
}
