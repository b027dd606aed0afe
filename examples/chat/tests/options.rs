//! What a person at a terminal reads if an option is wrong. All examples share these options.

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longer than a program needs to find its fault. One that still runs then has not found it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the chat to its end. Returns what it wrote to stderr.
fn run(options: &[&str]) -> (ExitStatus, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
    command.args(options).env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    let mut chat = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the chat starts");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = chat.try_wait().expect("it was started") {
            break status;
        }
        if Instant::now() > deadline {
            chat.kill().expect("it runs");
            panic!("the chat runs with {options:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    chat.stderr.take().expect("a pipe").read_to_string(&mut text).expect("a text");
    (status, text)
}

/// Checks that the chat ends with this one line.
fn says(options: &[&str], expected: &str) {
    let (status, text) = run(options);
    assert_eq!((status.code(), text.as_str()), (Some(1), &*format!("Error: {expected}\n")), "{options:?}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, text) = run(&["--bind", &address]);
    assert_eq!(status.code(), Some(1));
    let expected = format!("Error: --bind: cannot listen on {address}: ");
    assert!(text.starts_with(&expected) && text.lines().count() == 1, "{text}");
    assert!(text.to_lowercase().contains("in use"), "{text}");
}

#[test]
fn an_address_without_a_host_is_one_clear_line() {
    for bind in ["8000", "localhost", "127.0.0.1", ""] {
        says(
            &["--bind", bind],
            "--bind: this is not an address to listen on: write host:port, such as 127.0.0.1:8000",
        );
    }
    let (_, text) = run(&["--bind", "no-such-host.invalid:80"]);
    assert!(text.starts_with("Error: --bind: the host to listen on has no address: "), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_layer_without_a_server_is_one_clear_line() {
    let layers = "write memory, nats://…, redis://…, redis-pubsub://…";
    let none = format!("--layer: the URL of the layer has no scheme: {layers}");
    says(&["--layer", "redis"], &none);
    says(&["--layer", "rabbit://x"], &format!("--layer: no layer has the scheme \"rabbit\": {layers}"));
    // Nobody listens on port 1.
    let closed = "127.0.0.1:1";
    let (status, text) = run(&["--layer", &format!("redis://{closed}")]);
    // The log has said before that Redis is away.
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(last.starts_with("Error: --layer: the layer does not work: "), "{text}");
    assert!(last.contains(closed) && !text.contains("backtrace"), "{text}");
}

#[test]
fn a_history_file_in_no_folder_is_one_clear_line() {
    let (status, text) = run(&["--history-file", "/no/such/folder/history"]);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.starts_with("Error: --history-file: ") && text.lines().count() == 1, "{text}");
    assert!(text.contains("/no/such/folder"), "{text}");
}

#[test]
fn a_number_of_threads_that_no_server_has_is_refused() {
    for count in ["0", "513", "1000", "many"] {
        let (status, text) = run(&["--threads", count]);
        assert_eq!(status.code(), Some(2), "{text}");
        let first = text.lines().next().unwrap_or_default();
        assert!(first.contains("--threads") && first.contains(count), "{text}");
        assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
    }
}
