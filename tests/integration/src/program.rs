//! A program in its own process, with its output read line by line.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::timeout,
};

use crate::{PATIENCE, eventually};

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: UnboundedReceiver<String>,
    address: SocketAddr,
}

impl Program {
    /// Starts a server, and waits until it says `listening on <address>`.
    pub async fn start(path: &str) -> Self {
        Self::start_with(path, &[]).await
    }

    /// As [`start`](Self::start), with arguments.
    pub async fn start_with(path: &str, arguments: &[&str]) -> Self {
        let mut program = Self::spawn(path, arguments);
        let first = program.line().await.expect("a first line");
        let address = first.strip_prefix("listening on ").and_then(|address| address.parse().ok());
        program.address = address.unwrap_or_else(|| panic!("no address: {first:?}"));
        program
    }

    /// Starts a program that listens nowhere.
    pub fn spawn(path: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {path}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("the output is piped"));
        let (sender, lines) = mpsc::unbounded_channel();
        // The thread ends with the program's output.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, address: SocketAddr::from(([0; 4], 0)) }
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a signal by its name, for example `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell is installed");
        assert!(status.success(), "{kill}: {status}");
    }

    /// Writes an empty line to the program's input.
    pub fn enter(&mut self) {
        let input = self.child.stdin.as_mut().expect("the input is piped");
        input.write_all(b"\n").and_then(|()| input.flush()).expect("the program reads");
    }

    /// Waits for the program's next line. Returns `None` at the end of the output.
    pub async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.recv()).await.expect("a line in time")
    }

    /// Waits for the end of the program. Returns the lines that are left, and the exit status.
    pub async fn ended(&mut self) -> (Vec<String>, ExitStatus) {
        let mut left = Vec::new();
        while let Some(line) = self.line().await {
            left.push(line);
        }
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().expect("the program was started");
            status.is_some()
        })
        .await;
        (left, status.expect("the program has ended"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
