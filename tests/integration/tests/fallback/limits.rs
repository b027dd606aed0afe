//! Whatever clients do, memory is bounded, and no consumer is left behind.

use actix_web::{
    App,
    test::{TestRequest, call_service, init_service, read_body_json},
};
use greenroom::{
    Fallback, Limits, Overflow,
    close::{Cause, CloseCode},
    testing::{LiveServer, census, pause},
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{
    client::{Client, JSON, OWN, ask, begin, finish},
    end_of, mount, serve, short,
};

#[actix_web::test]
async fn a_message_over_the_limit_is_413_and_closes_with_1009() {
    let limits = Limits::new().message_size(1000);
    // The body of the first message is within the limit for bodies. The second body is not.
    for length in [1001, 7000] {
        let (mount, mut seen) = mount(Fallback::new());
        let server = LiveServer::start(&mount.limits(limits.clone()), 1).unwrap();
        let mut client = Client::open(server.address(), "/room/").await;
        client.say(&"x".repeat(1000)).await;
        let answer = client.post(2, json!(["x".repeat(length)]).to_string().as_bytes()).await;
        assert_eq!(answer.error(), (413, "too_large".to_owned()));
        assert_eq!(client.close_of().await.0, 1009);
        let how = end_of(&mut seen).await;
        assert_eq!((how.code, how.cause), (CloseCode::TOO_BIG, Cause::Protocol));
        server.wait_until_empty().await;
    }
}

#[actix_web::test]
async fn messages_that_wait_for_a_poll_are_bounded() {
    let (mount, mut seen) = mount(Fallback::new());
    let layer = mount.default_layer().clone();
    let server = LiveServer::start(&mount.limits(Limits::new().outbox_size(10 << 10)), 1).unwrap();
    let mut client = Client::open(server.address(), "/room/").await;
    client.say("fill 100").await;
    assert_eq!(end_of(&mut seen).await.cause, Cause::TooSlow);
    let batch = client.batch().await;
    assert_eq!((&batch["messages"], &batch["close"]["code"]), (&json!([]), &json!(1013)));
    assert_eq!(layer.metrics().too_slow, 1);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn the_overflow_policy_holds_between_polls() {
    let (mount, _seen) = mount(Fallback::new());
    let limits = Limits::new().outbox_size(10 << 10).overflow(Overflow::DropOldest);
    let server = LiveServer::start(&mount.limits(limits), 1).unwrap();
    let mut client = Client::open(server.address(), "/room/").await;
    client.send(&json!(["fill 100", "last"])).await;
    let mut messages = client.messages(1).await;
    while messages.last() != Some(&json!("last")) {
        messages.extend(client.messages(1).await);
    }
    assert!(messages.len() <= 10, "{}", messages.len());
}

#[actix_web::test]
async fn a_stream_that_is_not_read_ends_its_connection() {
    let (mount, mut seen) = mount(short());
    let layer = mount.default_layer().clone();
    let server = LiveServer::start(&mount.limits(Limits::new().outbox_size(64 << 10)), 1).unwrap();
    let mut client = Client::open(server.address(), "/room/").await;
    // The client reads the head and nothing more. It also acknowledges nothing.
    let mut events = client.events(&[]).await;
    events.head().await;
    // The last send may find that the connection is closed or gone.
    for seq in 1.. {
        if client.post(seq, br#"["fill 32"]"#).await.status != 204 {
            break;
        }
        assert!(seq < 10_000, "64 KiB are full");
        if matches!(seen.try_recv(), Ok(super::Seen::Disconnect(_))) {
            break;
        }
    }
    client.seq = 0;
    drop(events);
    server.wait_until_empty().await;
    assert_eq!(layer.metrics().too_slow, 1);
}

#[actix_web::test]
async fn connections_that_never_poll_give_their_places_back() {
    let (mount, _seen) = mount(short());
    let layer = mount.default_layer().clone();
    let server = LiveServer::start(&mount.max_connections(20), 2).unwrap();
    let mut refused = 0;
    for _ in 0..40 {
        let answer = ask(server.address(), "POST", "/room/?greenroom=open", &[OWN], b"").await;
        assert!(server.connections() <= 20);
        refused += usize::from(answer.status == 503 && answer.header("retry-after").is_some());
    }
    assert!(refused > 0);
    server.wait_until_empty().await;
    for thread in census(&layer).await {
        assert_eq!((thread.connections, thread.groups, thread.timed), (0, 0, 0), "{thread:?}");
    }
    Client::open(server.address(), "/room/").await;
}

#[actix_web::test]
async fn the_connections_of_one_address_are_limited() {
    let (mount, _seen) = mount(Fallback::new());
    let server = LiveServer::start(&mount.connections_per_peer(2), 1).unwrap();
    let first = Client::open(server.address(), "/room/").await;
    Client::open(server.address(), "/room/").await;
    let answer = ask(server.address(), "POST", "/room/?greenroom=open", &[OWN], b"").await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(first.close("").await.status, 204);
    while server.connections() == 2 {
        tokio::task::yield_now().await;
    }
    Client::open(server.address(), "/room/").await;
}

#[actix_web::test]
async fn a_busy_consumer_holds_only_one_request() {
    let (mount, mut seen) = mount(Fallback::new());
    let limits = Limits::new().read_ahead(1).disconnect_grace(std::time::Duration::ZERO);
    let server = LiveServer::start(&mount.limits(limits), 1).unwrap();
    let mut client = Client::open(server.address(), "/room/").await;
    client.say("hang").await;
    // One message is read ahead. The next one has to wait for room.
    client.say("second").await;
    let target = client.target("send", "seq=3");
    let post = async || begin(server.address(), "POST", &target, &[OWN, JSON], br#"["third"]"#).await;
    let (older, newer) = (post().await, post().await);
    let is_older = tokio::select! {
        _ = older.readable() => true,
        _ = newer.readable() => false,
    };
    let (superseded, waits) = if is_older { (older, newer) } else { (newer, older) };
    assert_eq!(finish(superseded).await.error(), (409, "superseded".to_owned()));
    assert_eq!(client.close("").await.status, 204);
    assert_eq!(end_of(&mut seen).await.cause, Cause::Client);
    drop(waits);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_message_that_finds_no_room_for_20_seconds_is_503_and_not_taken() {
    pause();
    let (mount, mut seen) = mount(Fallback::new());
    let mount = mount.limits(Limits::new().read_ahead(1));
    let app = init_service(App::new().configure(mount.configure())).await;
    let post = |target: String, body: &'static str| {
        let request = TestRequest::post().uri(&target).insert_header(OWN).insert_header(JSON);
        call_service(&app, request.set_payload(body).to_request())
    };
    let opened = post("/room/?greenroom=open".to_owned(), "").await;
    let opened: serde_json::Value = read_body_json(opened).await;
    let id = opened["id"].as_str().unwrap();
    let send = |seq: u64, body| post(format!("/room/?greenroom=send&id={id}&seq={seq}"), body);
    assert_eq!(send(1, r#"["hang"]"#).await.status(), 204);
    assert_eq!(send(2, r#"["read ahead"]"#).await.status(), 204);
    for _ in 0..2 {
        let answer = send(3, r#"["no room"]"#).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers().get("retry-after").unwrap(), "1");
    }
    // The refused request has not used its number up.
    assert_eq!(send(4, r#"["too early"]"#).await.status(), 400);
    assert_eq!(seen.recv().await, Some(super::Seen::Connect));
    assert_eq!(seen.recv().await, Some(super::Seen::Heard(greenroom::Message::Text("hang".into()))));
    assert!(seen.try_recv().is_err());
}

#[actix_web::test]
async fn at_most_two_bodies_of_a_connection_are_read_at_once() {
    let (server, _seen) = serve(Fallback::new());
    let client = Client::open(server.address(), "/room/").await;
    let begin = async || {
        let mut socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let mut head = format!("POST {} HTTP/1.1\r\nhost: a\r\n", client.target("send", "seq=1"));
        for (name, value) in [JSON, OWN, ("content-length", "100"), ("connection", "close")] {
            head += &format!("{name}: {value}\r\n");
        }
        let sent = socket.write_all(format!("{head}\r\n[").as_bytes()).await;
        sent.expect("the connection is open");
        socket
    };
    let (one, two, three) = (begin().await, begin().await, begin().await);
    let (refused, begun) = tokio::select! {
        _ = one.readable() => (one, [two, three]),
        _ = two.readable() => (two, [one, three]),
        _ = three.readable() => (three, [one, two]),
    };
    assert_eq!(finish(refused).await.error(), (429, "too_many_requests".to_owned()));
    assert_eq!(client.post(1, b"[]").await.error(), (429, "too_many_requests".to_owned()));
    drop(begun);
    while client.post(1, b"[]").await.status != 204 {}
}

#[actix_web::test]
async fn a_flood_is_closed_with_1008() {
    let (mount, mut seen) = mount(Fallback::new());
    let server = LiveServer::start(&mount.limits(Limits::new().message_rate(1, 5)), 1).unwrap();
    let mut client = Client::open(server.address(), "/room/").await;
    client.send(&json!(["1", "2", "3", "4", "5", "6", "7"])).await;
    assert_eq!(client.close_of().await.0, 1008);
    assert_eq!(end_of(&mut seen).await.code, CloseCode::POLICY);
}

#[actix_web::test]
async fn hundreds_of_polls_wait_and_all_are_answered() {
    let (server, _seen) = serve(Fallback::new());
    // The usual limit on open files allows this many. `load-server --bin waiting` has 10,000.
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let client = Client::open(server.address(), "/room/").await;
        let poll = client.begin_poll(20).await;
        waiting.push((client, poll));
    }
    let mut speaker = Client::open(server.address(), "/room/").await;
    speaker.say("room to all").await;
    for (mut client, poll) in waiting {
        // A poll that had not arrived yet finds the message in its outbox.
        assert_eq!(client.take(&finish(poll).await)["messages"], json!(["to all"]));
    }
}
