//! A real redis-server on a free port. It ends with its test.

use std::{
    ops::{Deref, DerefMut},
    process::Command,
};

use conformance_tests::faulty::ServerProcess;

/// An empty Redis server, which saves nothing to disk.
#[derive(Debug)]
pub struct RedisServer(ServerProcess);

impl RedisServer {
    /// Starts a server.
    ///
    /// # Panics
    /// If `redis-server`, from the Debian package of that name, is not installed.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more options, such as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// If `redis-server` is not installed, or does not start.
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
    /// If the sentinel does not start.
    #[must_use]
    pub fn sentinel(master: &Self) -> Self {
        let folder = std::env::temp_dir().join(format!("greenroom-sentinel-{}", master.port()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("sentinel.conf");
        // A sentinel writes its state into its configuration file.
        std::fs::write(&file, format!("sentinel monitor mymaster 127.0.0.1 {} 1\n", master.port()))
            .expect("a file");
        Self::with(&["--sentinel", &file.display().to_string()])
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// Connects the test itself to the server.
    ///
    /// # Panics
    /// If the server cannot be reached.
    #[must_use]
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url())
            .and_then(|client| client.get_connection())
            .expect("the server is there")
    }

    /// Runs one Redis command for the test itself.
    ///
    /// # Panics
    /// If the command fails.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut request = redis::cmd(command[0]);
        request.arg(&command[1..]);
        request.query(&mut self.connect()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

/// The methods of the process: end it, restart it, freeze it.
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
        // The configuration file must be the first argument.
        command.args([file, "--sentinel"]);
        options = others;
    } else {
        command.args(["--save", "", "--appendonly", "no"]);
        // A snapshot, such as that of a replica, is not loaded by another server.
        command.args(["--dbfilename", &format!("greenroom-{port}.rdb"), "--rdb-del-sync-files", "yes"]);
    }
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "/tmp", "--daemonize", "no"]);
    command.args(options);
    command
}
