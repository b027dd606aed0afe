//! The example `django-interop`, started as its README says.

use std::{
    cell::RefCell,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    Result,
    program::{Program, binary},
};

/// How long the example may take to start: its first start installs Python packages.
const START: Duration = Duration::from_secs(300);

/// A run of `examples/django-interop/run`: a Rust server, a Django server, and the Redis between them.
#[derive(Debug)]
pub struct Interop {
    program: Program,
    /// The lines that it printed: of each the first word and the rest.
    printed: Vec<(String, String)>,
}

impl Interop {
    /// Starts the example with the Rust server that is built already, and waits for the addresses.
    pub fn start() -> Result<Self> {
        let mut command = Command::new(root().join("examples/django-interop/run"));
        command.arg("--server").arg(binary("django-interop")?).current_dir(root()).stdin(Stdio::piped());
        let lines = RefCell::new(Vec::new());
        let (program, printed) = Program::start_within(START, command, move |line| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            lines.borrow_mut().push((word.to_owned(), rest.trim().to_owned()));
            (word == "Ctrl-C").then(|| lines.take())
        })?;
        Ok(Self { program, printed })
    }

    /// The address of a person's page in the room, on the Rust server.
    pub fn rust(&self, name: &str) -> Result<String> {
        Ok(format!("{}?name={name}", self.line("Rust")?))
    }

    /// The address of a person's page in the room, on the Django server.
    pub fn django(&self, name: &str) -> Result<String> {
        Ok(format!("{}?name={name}", self.line("Django")?))
    }

    /// Runs Python code in a shell of the Django project, by the command that the example printed.
    pub fn python(&self, code: &str) -> Result<()> {
        let command = format!("{} -c \"$0\"", self.line("Python")?);
        let status = Command::new("sh").args(["-c", &command, code]).current_dir(root()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{code}: {status}").into()) }
    }

    /// Stops Redis. The example starts it again after a while.
    pub fn restart_redis(&mut self) -> Result<()> {
        self.program.enter("redis")
    }

    fn line(&self, word: &str) -> Result<&str> {
        let line = self.printed.iter().find(|(first, _)| first == word);
        line.map(|(_, rest)| rest.as_str()).ok_or_else(|| format!("no line {word:?} was printed").into())
    }
}

impl Drop for Interop {
    fn drop(&mut self) {
        // A kill would leave the servers behind. An error here is not reported: the test may have failed already.
        let _ = self.program.stop();
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
