//! A server of the tests' own, as a process that ends with its test.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

/// A program that listens on a free port of 127.0.0.1.
pub struct ServerProcess {
    port: u16,
    /// The command for a port.
    command: Box<dyn Fn(u16) -> Command>,
    /// Whether a line that it prints says that it serves.
    is_ready: fn(&str) -> bool,
    process: Option<Child>,
}

impl ServerProcess {
    /// Starts one, and waits until it serves.
    ///
    /// # Panics
    /// Where there is no such program, or it does not start.
    #[must_use]
    pub fn start(command: impl Fn(u16) -> Command + 'static, is_ready: fn(&str) -> bool) -> Self {
        let command = Box::new(command);
        let mut server = Self { port: 0, command, is_ready, process: None };
        for _ in 0..20 {
            // Another process may take the port before the server does: then it is another one's turn.
            server.port = free_port();
            if let Some(process) = server.launch() {
                server.process = Some(process);
                return server;
            }
        }
        panic!("{server:?} did not start on a free port");
    }

    /// Starts the process; `None` where it ends, as it does without its port.
    fn launch(&self) -> Option<Child> {
        let mut command = (self.command)(self.port);
        let name = command.get_program().display().to_string();
        // Redis tells of itself on one, NATS on the other.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}; it is a Debian package"));
        // It has the ends that are written to, and the pipe ends with the process.
        drop(command);
        let mut output = BufReader::new(reader);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) {
            if (self.is_ready)(&line) {
                // It must not stop for a full pipe.
                thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
                return Some(process);
            }
            line.clear();
        }
        let _ = process.wait();
        None
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
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
        self.process = Some(self.launch().expect("its port is free still"));
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
}

impl fmt::Debug for ServerProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.command)(self.port))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody has now.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}
