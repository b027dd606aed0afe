//! A real redis-server on a free port, which ends with its test.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

/// A server with nothing on it, that keeps nothing.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

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
        for _ in 0..20 {
            // Another process may take the port before the server does: then it is another one's turn.
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            if let Some(process) = launch(port, &options) {
                return Self { port, options, process: Some(process) };
            }
        }
        panic!("no redis-server started on a free port");
    }

    /// Starts a sentinel that watches `master` under the name `mymaster`.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn sentinel(master: &Self) -> Self {
        let folder = std::env::temp_dir().join(format!("greenroom-sentinel-{}", master.port));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("sentinel.conf");
        // A sentinel keeps its state in the file that it is configured by.
        std::fs::write(&file, format!("sentinel monitor mymaster 127.0.0.1 {} 1\n", master.port))
            .expect("a file");
        Self::with(&["--sentinel", &file.display().to_string()])
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, with all that it holds.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it ends");
        }
    }

    /// Starts it again, on its port, with nothing on it.
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

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server, and waits until it serves; `None` where it could not have the port.
fn launch(port: u16, options: &[String]) -> Option<Child> {
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
    let mut process = command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "/tmp", "--daemonize", "no"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is redis-server, of the Debian package of that name");
    let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line.to_lowercase().contains("ready to accept connections") || line.contains("Sentinel ID is") {
            // It must not stop for a full pipe.
            thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
            return Some(process);
        }
        line.clear();
    }
    let _ = process.wait();
    None
}
