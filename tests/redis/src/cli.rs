//! Runs the program `greenroom`.

use std::process::{Output, Stdio};

use integration_tests::PATIENCE;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::program;

/// The program with these arguments, without this process' `GREENROOM_*` and `RUST_LOG` variables.
///
/// # Panics
/// If the program is not built.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("greenroom"));
    for name in ["GREENROOM_LAYER", "GREENROOM_PREFIX", "GREENROOM_KEYS", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program with this input, to its end.
///
/// # Panics
/// If the program does not end in time.
pub async fn run(arguments: &[&str], input: &str) -> Output {
    let mut process = command(arguments).spawn().expect("it starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    // An error means that the program has ended without reading its input.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    timeout(PATIENCE, process.wait_with_output()).await.expect("in time").expect("it ends")
}

/// The printed bytes as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts `greenroom listen`, and waits until it listens.
///
/// # Panics
/// If it does not listen in time.
pub async fn listen(arguments: &[&str]) -> Child {
    let mut process = command(&[&["listen"], arguments].concat()).spawn().expect("it starts");
    let mut told = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let line = timeout(PATIENCE, told.next_line()).await.expect("in time").expect("a line").expect("a line");
    assert!(line.starts_with("listening to"), "{line}");
    // Reads on, because the program would block on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = told.next_line().await {} });
    process
}

/// Waits for a listener's end, and returns the lines that it printed.
///
/// # Panics
/// If the listener fails, or does not end in time.
pub async fn lines(process: Child) -> Vec<String> {
    let output = timeout(PATIENCE, process.wait_with_output()).await.expect("in time").expect("it ends");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}
