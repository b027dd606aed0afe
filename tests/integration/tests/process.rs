//! How a server's process ends, as its operators see it. Rule 18, mended: every client is closed with 1012. Daphne drops
//! every socket.
#![cfg(unix)]

use integration_tests::{
    program::Program,
    raw::{Raw, Request, Response},
};

async fn door() -> Program {
    Program::start(env!("CARGO_BIN_EXE_door")).await
}

/// A request for a page, on a connection that stays open.
fn page() -> Request {
    Request::new("/").without("Upgrade").without("Connection")
}

/// The milliseconds in the reason of a close frame.
fn retry_hint(reason: &str) -> u64 {
    let hint = reason.strip_prefix("retry=").and_then(|hint| hint.strip_suffix("ms"));
    hint.and_then(|hint| hint.parse().ok()).unwrap_or_else(|| panic!("no hint: {reason:?}"))
}

/// Checks that the answer says when to come back, and that it ends its connection.
fn assert_refused(response: &Response) {
    assert_eq!((response.status, response.body.as_str()), (503, "the server is shutting down"));
    assert_eq!(response.header("Retry-After"), Some("1"), "a few clients may come back soon");
    assert_eq!(response.header("Connection"), Some("close"));
}

/// Checks that the signal ends every client with 1012, and that every `disconnect` runs.
async fn ends_cleanly(signal: &str) {
    const CLIENTS: usize = 20;
    let mut door = door().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Raw::connect(door.address(), "/room/").await);
    }
    door.signal(signal);
    for client in &mut clients {
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1012);
        assert!((200..=1000).contains(&retry_hint(&reason)), "{reason}");
    }
    let (lines, status) = door.ended().await;
    let (end, lines) = lines.split_last().expect("lines");
    assert_eq!(lines, ["disconnect 1012"; CLIENTS]);
    assert_eq!((end.as_str(), status.code()), ("the end", Some(0)));
}

#[actix_web::test]
async fn sigterm_closes_everyone_and_ends_with_success() {
    ends_cleanly("TERM").await;
}

#[actix_web::test]
async fn ctrl_c_closes_everyone_and_ends_with_success() {
    ends_cleanly("INT").await;
}

#[actix_web::test]
async fn a_call_to_drain_closes_everyone_and_ends_with_success() {
    let mut door = door().await;
    let mut client = Raw::connect(door.address(), "/room/").await;
    let mut operator = Raw::open(door.address()).await;
    let request = Request::new("/drain").without("Upgrade").without("Connection");
    assert_eq!(operator.ask(&request).await.body, "draining");
    assert_eq!(client.closed().await.0, 1012);
    let (lines, status) = door.ended().await;
    assert_eq!((lines, status.code()), (vec!["disconnect 1012".to_owned(), "the end".to_owned()], Some(0)));
}

#[actix_web::test]
async fn a_server_without_clients_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut door = door().await;
        let mut visitor = Raw::open(door.address()).await;
        assert_eq!(visitor.ask(&page()).await.body, "the page");
        door.signal(signal);
        let (lines, status) = door.ended().await;
        assert_eq!((lines, status.code()), (vec!["the end".to_owned()], Some(0)));
    }
}

#[actix_web::test]
async fn port_0_takes_a_free_port_and_the_line_says_which() {
    let (one, other) = (door().await, door().await);
    assert!(one.address().port() != 0 && one.address() != other.address());
    for door in [&one, &other] {
        Raw::connect(door.address(), "/room/").await;
    }
}

#[actix_web::test]
async fn new_connections_are_refused_while_the_server_drains() {
    let mut door = door().await;
    let mut held = Raw::connect(door.address(), "/held/").await;
    // This client is already connected, but not yet by a WebSocket.
    let mut waiting = Raw::open(door.address()).await;
    assert_eq!(waiting.ask(&page()).await.body, "the page");

    door.signal("TERM");
    assert_eq!(door.line().await.as_deref(), Some("held"));
    assert_eq!(held.closed().await.0, 1012, "the client does not wait for the hook");
    let response = waiting.ask(&Request::new("/room/")).await;
    assert_refused(&response);
    waiting.ended().await;
    // A client that comes only now is refused too, and does not wait for the end of the drain.
    let mut late = Raw::open(door.address()).await;
    assert_eq!(late.ask(&page()).await.body, "the page");
    assert_refused(&late.ask(&Request::new("/room/")).await);
    late.ended().await;

    door.enter();
    let (lines, status) = door.ended().await;
    assert_eq!((lines, status.code()), (vec!["disconnect 1012".to_owned(), "the end".to_owned()], Some(0)));
}

#[actix_web::test]
async fn a_second_signal_ends_the_server_at_once_with_failure_even_if_a_hook_hangs() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let mut door = door().await;
        let mut held = Raw::connect(door.address(), "/held/").await;
        door.signal(first);
        assert_eq!(door.line().await.as_deref(), Some("held"));
        assert_eq!(held.closed().await.0, 1012);
        door.signal(second);
        let (lines, status) = door.ended().await;
        let expected = format!("stopped at once by a second signal, SIG{second}; connections left: 1");
        assert_eq!((lines, status.code()), (vec![expected], Some(1)), "{first}, {second}");
    }
}
