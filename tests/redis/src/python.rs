//! Real Python processes with channels_redis.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use integration_tests::PATIENCE;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// A Python process with a layer of channels_redis. It ends when this is dropped.
#[derive(Debug)]
pub struct Python {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// The folder with the programs in Python.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// The Python that has the packages of `python/requirements.txt`. Makes its environment if that is missing.
fn interpreter() -> PathBuf {
    if let Some(python) = env::var_os("GREENROOM_PYTHON") {
        return python.into();
    }
    let setup = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python/setup"))
        .stderr(Stdio::inherit())
        .output()
        .expect("Python 3 is installed");
    assert!(setup.status.success(), "channels_redis cannot be installed, see above");
    String::from_utf8(setup.stdout).expect("a path").trim().into()
}

impl Python {
    /// Starts a process. `kind` is `core` or `pubsub`, `config` is the `CONFIG` of `CHANNEL_LAYERS`.
    ///
    /// # Panics
    /// If the process does not start.
    pub async fn start(kind: &str, config: &Value) -> Self {
        Self::start_in(Path::new(PROGRAMS), kind, config).await
    }

    /// Starts a process from a copy of its files and of the scripts of Greenroom in this folder, as a deployed program has
    /// them.
    ///
    /// # Panics
    /// If the process does not start.
    pub async fn deployed(folder: &Path, kind: &str, config: &Value) -> Self {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../framework/src/layers/redis/log");
        for from in [PROGRAMS, scripts] {
            for file in fs::read_dir(from).expect("a folder of the repository") {
                let file = file.expect("a file").path();
                if file.extension().is_some_and(|kind| kind == "py" || kind == "lua") {
                    let name = file.file_name().expect("a file has a name");
                    fs::copy(&file, folder.join(name)).expect("it is copied");
                }
            }
        }
        Self::start_in(folder, kind, config).await
    }

    async fn start_in(folder: &Path, kind: &str, config: &Value) -> Self {
        let mut process = Command::new(interpreter())
            .arg(folder.join("peer.py"))
            .args([kind, &config.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut python = Self { input, output, _process: process };
        assert_eq!(python.answer().await, Ok(json!("ready")));
        python
    }

    /// Calls a method of the process' layer.
    ///
    /// # Errors
    /// The exception that the method raised.
    ///
    /// # Panics
    /// If the process does not answer in time.
    pub async fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        self.begin(name, arguments).await;
        self.answer().await
    }

    /// Calls a method, and does not wait for its result: [`answer`](Self::answer) does that.
    ///
    /// # Panics
    /// If the process has ended.
    pub async fn begin(&mut self, name: &str, arguments: &[Value]) {
        let mut command = vec![json!(name)];
        command.extend_from_slice(arguments);
        let line = format!("{}\n", Value::Array(command));
        self.input.write_all(line.as_bytes()).await.expect("it runs");
    }

    /// Waits for the result of the last call.
    ///
    /// # Errors
    /// The exception that the method raised.
    ///
    /// # Panics
    /// If the process does not answer in time.
    pub async fn answer(&mut self) -> Result<Value, String> {
        let line = timeout(PATIENCE, self.output.next_line()).await.expect("it answers in time");
        let line = line.expect("it runs").expect("it runs");
        let mut answer: Value = serde_json::from_str(&line).expect("JSON");
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Calls a method that must not fail.
    ///
    /// # Panics
    /// If the method raises an exception.
    pub async fn must(&mut self, name: &str, arguments: &[Value]) -> Value {
        self.call(name, arguments).await.unwrap_or_else(|error| panic!("{name}{arguments:?}: {error}"))
    }

    /// The next message of a channel, as Python shows it.
    ///
    /// # Panics
    /// If no message comes in 4 s. (With redis-py 8 a `receive` fails after 5 s.)
    pub async fn receive(&mut self, channel: &Value) -> String {
        let message = self.must("receive", &[channel.clone(), json!(4)]).await;
        message.as_str().unwrap_or_default().to_owned()
    }
}
