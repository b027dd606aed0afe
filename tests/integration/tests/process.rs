//! How a server's process ends, as its operators see it. Rule 18, mended: Daphne drops every socket.
#![cfg(unix)]

use integration_tests::{
    program::Program,
    raw::{Raw, Request},
};

async fn door() -> Program {
    Program::start(env!("CARGO_BIN_EXE_door")).await
}

/// A request for a page, on a connection that stays.
fn page() -> Request {
    Request::new("/").without("Upgrade").without("Connection")
}

/// The signal ends every client with 1001, and every `disconnect` runs.
async fn ends_cleanly(signal: &str) {
    const CLIENTS: usize = 20;
    let mut door = door().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Raw::connect(door.address(), "/room/").await);
    }
    door.signal(signal);
    for client in &mut clients {
        assert_eq!(client.closed().await.0, 1001);
    }
    let (lines, status) = door.ended().await;
    let (end, lines) = lines.split_last().expect("lines");
    assert_eq!(lines, ["disconnect 1001"; CLIENTS]);
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
async fn nobody_new_comes_in_while_the_server_drains() {
    let mut door = door().await;
    let mut held = Raw::connect(door.address(), "/held/").await;
    // This one is a connection already, though not yet a WebSocket.
    let mut waiting = Raw::open(door.address()).await;
    assert_eq!(waiting.ask(&page()).await.body, "the page");

    door.signal("TERM");
    assert_eq!(door.line().await.as_deref(), Some("held"));
    assert_eq!(held.closed().await.0, 1001, "the client does not wait for the hook");
    let response = waiting.ask(&Request::new("/room/")).await;
    assert_eq!((response.status, response.body.as_str()), (503, "the server is shutting down"));
    // The kernel may still take a connection; the server does not.
    let mut late = Raw::open(door.address()).await;
    late.request(&Request::new("/room/")).await;
    assert!(late.is_silent().await);

    door.enter();
    let (lines, status) = door.ended().await;
    assert_eq!((lines, status.code()), (vec!["disconnect 1001".to_owned(), "the end".to_owned()], Some(0)));
    late.ended().await;
}

#[actix_web::test]
async fn a_second_signal_ends_at_once_though_a_hook_hangs() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let mut door = door().await;
        let mut held = Raw::connect(door.address(), "/held/").await;
        door.signal(first);
        assert_eq!(door.line().await.as_deref(), Some("held"));
        assert_eq!(held.closed().await.0, 1001);
        door.signal(second);
        let (lines, status) = door.ended().await;
        assert_eq!((lines, status.code()), (vec!["the end".to_owned()], Some(0)), "{first}, {second}");
    }
}
