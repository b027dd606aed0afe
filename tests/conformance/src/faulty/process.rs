//! A server in a process that ends with its test.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
};

use integration_tests::free_port;

/// A program that listens on a free port of 127.0.0.1.
pub struct ServerProcess {
    port: u16,
    /// Makes the command that starts the program on a port.
    command: Box<dyn Fn(u16) -> Command>,
    /// Whether a printed line says that the program is ready.
    is_ready: fn(&str) -> bool,
    process: Option<Child>,
}

impl ServerProcess {
    /// Starts a program, and waits until it is ready.
    ///
    /// # Panics
    /// If the program is missing or does not start.
    #[must_use]
    pub fn start(command: impl Fn(u16) -> Command + 'static, is_ready: fn(&str) -> bool) -> Self {
        let command = Box::new(command);
        let mut server = Self { port: 0, command, is_ready, process: None };
        let mut said = String::new();
        for _ in 0..3 {
            // Another process may take the port before the server does. Then another port is tried.
            server.port = free_port();
            match server.launch() {
                Ok(process) => {
                    server.process = Some(process);
                    return server;
                }
                Err(last) => said = last,
            }
        }
        panic!("{server:?} did not start on a free port. It said:\n{said}");
    }

    /// Starts the process. If it ends, as it does when its port is taken, the error is what it said.
    fn launch(&self) -> Result<Child, String> {
        let mut command = (self.command)(self.port);
        let name = command.get_program().display().to_string();
        // Redis writes its log to the standard output, and NATS to the standard error.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}. Debian has it as a package"));
        // The command holds the writing ends of the pipe. Without them, the pipe ends with the process.
        drop(command);
        let mut output = BufReader::new(reader);
        let (mut said, mut line) = (String::new(), String::new());
        while output.read_line(&mut line).is_ok_and(|read| read > 0) {
            if (self.is_ready)(&line) {
                // The server must not stop at a full pipe.
                thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
                return Ok(process);
            }
            said.push_str(&line);
            line.clear();
        }
        let _ = process.wait();
        Err(said)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server. All that it holds is lost.
    ///
    /// # Panics
    /// If the process does not end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the server runs");
            process.wait().expect("the server ends");
        }
    }

    /// Starts the server again, on its port, with nothing on it.
    ///
    /// # Panics
    /// If the server does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Some(
            self.launch().unwrap_or_else(|said| panic!("{self:?} did not start again. It said:\n{said}")),
        );
    }

    /// Freezes the server without ending it.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen server go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the server runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().expect("`kill` is installed");
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
