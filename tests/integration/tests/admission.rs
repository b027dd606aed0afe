//! Which handshakes are answered, and how many messages and connections a client may have.

use greenroom::{
    Limits, Mount,
    close::{Cause, CloseCode},
    middleware::TrustedProxies,
    prelude::*,
    testing::{CommunicatorError, LiveServer},
};
use integration_tests::{
    Client, eventually,
    raw::{CLOSE, FIN, Frame as RawFrame, PING, Raw, Request, close_parts, masked},
};

use super::heartbeat::{SECOND, Stage};

#[actix_web::test]
async fn a_handshake_that_never_ends_is_answered_408() {
    let stage = Stage::new(Limits::new());
    let server = stage.serve();
    let mut slow = Raw::open(server.address()).await;
    slow.send(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConn").await;
    let mut other = Client::connect(&server, "/").await;
    other.send("served").await;
    assert_eq!(other.text().await, "served");
    // actix's `client_request_timeout` is 5 s.
    assert_eq!(slow.response().await.status, 408);
    slow.ended().await;
    assert_eq!(server.connections(), 1);
}

#[actix_web::test]
async fn a_request_head_that_is_too_large_is_refused() {
    let stage = Stage::new(Limits::new());
    let server = stage.serve();
    let mut other = Client::connect(&server, "/").await;

    let mut large = Raw::open(server.address()).await;
    // The limit of actix is 128 KiB. It may stop reading before the client has sent everything.
    let _ = large.try_send(format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(200 << 10)).as_bytes()).await;
    assert_eq!(large.response().await.status, 431);

    let many = |count: usize| (0..count).fold(Request::new("/"), |request, _| request.and("X-More", "1"));
    // The limit of actix is 96 headers. A host and four headers of the handshake come with these.
    assert_eq!(Raw::open(server.address()).await.ask(&many(91)).await.status, 101);
    assert_eq!(Raw::open(server.address()).await.ask(&many(92)).await.status, 431);

    other.send("served").await;
    assert_eq!(other.text().await, "served");
}

#[actix_web::test]
async fn too_many_messages_close_with_1008_after_those_within_the_rate() {
    let stage = Stage::new(Limits::new().message_rate(2, 5));
    let mut client = stage.client().await;
    for round in 0..20 {
        client.send_text(round.to_string());
        assert_eq!(client.receive_text().await.unwrap(), round.to_string());
        tokio::time::sleep(SECOND / 2).await;
    }
    tokio::time::sleep(2 * SECOND).await;
    for number in 0..10 {
        client.send_text(number.to_string());
    }
    for number in 0..5 {
        assert_eq!(client.receive_text().await.unwrap(), number.to_string());
    }
    let error = client.receive().await.unwrap_err();
    let reason = "too many messages".into();
    assert_eq!(error, CommunicatorError::Closed { code: CloseCode::POLICY, reason });
    client.disconnect().await;
    assert_eq!(stage.subject.log.lines(), [format!("1008 {:?} \"too many messages\"", Cause::Protocol)]);
    assert_eq!(stage.metrics().message_rate, 1);
}

#[actix_web::test]
async fn pings_count_for_the_rate() {
    let stage = Stage::new(Limits::new().message_rate(1, 3));
    let server = stage.serve();
    let mut client = Raw::connect(server.address(), "/").await;
    client.send(&masked(FIN | PING, b"1").repeat(10)).await;
    for _ in 0..3 {
        assert_eq!(client.frame().await, RawFrame::pong(b"1"));
    }
    let frame = client.frame().await;
    assert_eq!((frame.first, close_parts(&frame).0), (FIN | CLOSE, 1008));
}

#[actix_web::test]
async fn the_connections_of_one_address_are_limited() {
    let stage = Stage::new(Limits::new());
    let mount = stage.mount.clone().connections_per_peer(2);
    let server = LiveServer::start(&mount, 2).unwrap();
    let first = Client::connect(&server, "/").await;
    let _second = Client::connect(&server, "/").await;
    let refused = Raw::open(server.address()).await.ask(&Request::new("/")).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(refused.body, "too many connections from your address");
    assert_eq!(stage.metrics().too_many_of_peer, 1);
    assert_eq!(first.close().await.0, 1000);
    eventually("the place is free", || server.connections() == 1).await;
    Client::connect(&server, "/").await;
}

#[actix_web::test]
async fn behind_a_trusted_proxy_the_clients_own_address_counts() {
    let stage = Stage::new(Limits::new());
    let subject = stage.subject.clone();
    let routes = UrlRouter::new()
        .wrap(TrustedProxies::new(["127.0.0.1"]))
        .route("/", move |_: &Scope| Ok(subject.clone()));
    let mount = Mount::new(routes).unwrap().connections_per_peer(1);
    let server = LiveServer::start(&mount, 1).unwrap();
    let by = |client: &'static str| [("x-forwarded-for", client)];
    let _one = Client::try_connect(&server, "/", &by("192.0.2.1")).await.unwrap();
    let _two = Client::try_connect(&server, "/", &by("192.0.2.2")).await.unwrap();
    assert_eq!(Client::try_connect(&server, "/", &by("192.0.2.1")).await.unwrap_err(), 429);
}
