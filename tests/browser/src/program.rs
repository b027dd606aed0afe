//! Programs that a test starts. They end with the test.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a program may take to say that it is ready.
const START: Duration = Duration::from_secs(30);

/// A running example, on a free port.
#[derive(Debug)]
pub struct Server {
    program: Program,
    base: String,
}

impl Server {
    /// Starts the chat and waits for its `listening on http://…` line.
    pub fn start() -> Result<Self> {
        Self::start_of("chat", "127.0.0.1:0")
    }

    /// Starts the chat on all addresses of this machine, such as `127.0.0.7`. To a browser each of them is another host.
    pub fn start_everywhere() -> Result<Self> {
        Self::start_of("chat", "0.0.0.0:0")
    }

    /// Starts the chat with a layer that other servers may share, such as `redis://127.0.0.1:6379`.
    pub fn start_on(layer: &str) -> Result<Self> {
        Self::start_with(&["--layer", layer])
    }

    /// Starts the chat with these options, on a free port.
    pub fn start_with(options: &[&str]) -> Result<Self> {
        Self::launch("chat", &[&["--bind", "127.0.0.1:0"], options].concat())
    }

    /// Starts an example at this address. Port 0 stands for a free port.
    pub fn start_of(example: &str, address: &str) -> Result<Self> {
        Self::launch(example, &["--bind", address])
    }

    fn launch(example: &str, options: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary(example)?);
        command.args(options);
        if env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn"); // its ordinary lines would hide those of the tests
        }
        let (program, base) =
            Program::start(command, |line| line.strip_prefix("listening on ").map(str::to_owned))?;
        Ok(Self { program, base })
    }

    /// The address of a path on this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The address of a path on this server, with another host.
    pub fn url_on(&self, host: &str, path: &str) -> Result<String> {
        Ok(format!("http://{host}:{}{path}", self.address()?.port()))
    }

    /// The address that the server listens on.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.base.trim_start_matches("http://").parse()?)
    }

    /// Ends the server at once (SIGKILL).
    pub fn kill(self) {
        drop(self);
    }

    /// Asks the server to stop, as an operator does (SIGTERM), and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        self.program.stop()
    }
}

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a program, and waits for the first line of its output from which `ready` makes a value.
    pub(crate) fn start<T: Send + 'static>(
        command: Command,
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        Self::start_within(START, command, ready)
    }

    /// Does the same as [`start`](Self::start) for a program that may take longer.
    pub(crate) fn start_within<T: Send + 'static>(
        patience: Duration,
        mut command: Command,
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let output = BufReader::new(child.stdout.take().ok_or("the output is piped")?);
        let program = Self { child };
        let (found, answer) = mpsc::channel();
        // Reads on to the end, so that the program never blocks on a full pipe.
        thread::spawn(move || {
            for line in output.lines().map_while(std::io::Result::ok) {
                if let Some(value) = ready(&line) {
                    let _ = found.send(value); // after the first value no one waits
                }
            }
        });
        match answer.recv_timeout(patience) {
            Ok(value) => Ok((program, value)),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("{name} did not say within {patience:?} that it is ready").into())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(format!("{name} ended before it said that it is ready").into())
            }
        }
    }

    /// Starts a program that says nothing, and waits until `ready`. Returns nothing if the program ends before.
    pub(crate) fn start_until(mut command: Command, ready: impl Fn() -> bool) -> Result<Option<Self>> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let mut program = Self { child };
        let end = Instant::now() + START;
        while Instant::now() < end {
            if program.child.try_wait()?.is_some() {
                return Ok(None);
            }
            if ready() {
                return Ok(Some(program));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{name} was not ready within {START:?}").into())
    }

    /// Asks the program to stop (SIGTERM), and waits for its end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the server stopped with {status}").into()) }
    }

    /// Writes a line to the program's input, which must be piped.
    pub(crate) fn enter(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().ok_or("the input is piped")?;
        Ok(writeln!(input, "{line}")?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of an installed program with one of these names.
pub(crate) fn installed(names: &[&str]) -> Result<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let names = names.join(" or ");
            format!("the browser test needs {names}: `tests/run browser` installs it").into()
        })
}

/// The path of a built example.
///
/// That is the path in the variable `CHAT_BIN` (or the like for other examples), or the program that cargo has put beside
/// this test.
pub(crate) fn binary(example: &str) -> Result<PathBuf> {
    let variable = format!("{}_BIN", example.to_uppercase().replace('-', "_"));
    if let Some(path) = env::var_os(&variable) {
        return Ok(path.into());
    }
    let name = format!("{example}{}", env::consts::EXE_SUFFIX);
    let this = env::current_exe()?;
    this.ancestors()
        .skip(1)
        .take(2) // a test is in the folder `deps`, a program in the folder above
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!("{example} is not built: `cargo build -p {example}`, or name it in {variable}").into()
        })
}
