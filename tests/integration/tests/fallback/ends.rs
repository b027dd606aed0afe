//! How a connection ends: by either side, after too long without a request, or with its server.

use std::time::Duration;

use actix_web::{
    App,
    test::{TestRequest, call_service, init_service, read_body_json},
};
use greenroom::{
    Fallback,
    close::{Cause, CloseCode},
    testing::{Host, pause},
};
use serde_json::json;

use super::{
    Seen,
    client::{Client, JSON, OWN, begin, finish},
    end_of, mount, serve, short,
};

const GONE: (u16, &str) = (410, "unknown_connection");

fn is_gone(answer: &super::client::Answer) {
    let (status, error) = answer.error();
    assert_eq!((status, error.as_str()), GONE);
}

#[actix_web::test]
async fn a_connection_that_never_polls_expires() {
    let (mount, mut seen) = mount(short());
    let layer = mount.default_layer().clone();
    let server = greenroom::testing::LiveServer::start(&mount, 2).unwrap();
    let client = Client::open(server.address(), "/room/").await;
    let how = end_of(&mut seen).await;
    assert_eq!((how.code, how.cause), (CloseCode::ABNORMAL, Cause::Gone));
    server.wait_until_empty().await;
    is_gone(&client.poll(0).await);
    is_gone(&client.post(1, b"[]").await);
    assert_eq!(layer.metrics().fallback_expired, 1);
}

#[actix_web::test]
async fn a_held_request_keeps_its_connection_open() {
    let (server, _seen) = serve(short());
    let mut client = Client::open(server.address(), "/room/").await;
    assert_eq!(
        client.poll(3).await.status,
        204,
        "the poll was held three times as long as a connection lives without a request"
    );
    let mut events = client.events(&[]).await;
    events.head().await;
    let other = Client::open(server.address(), "/room/").await;
    assert_eq!(other.poll(3).await.status, 204, "the second poll only lets time pass");
    client.say("still here").await;
    assert_eq!(events.next().await.unwrap().1["messages"], json!(["still here"]));
}

#[actix_web::test]
async fn a_client_that_drops_a_held_request_and_stays_away_has_ended() {
    let (server, mut seen) = serve(short());
    let direct = Host::from_env().unwrap() == Host::Direct;
    let client = Client::open(server.address(), "/room/").await;
    // An `HttpServer` does not tell that the client has left, so there the poll is held to its end.
    drop(client.begin_poll(if direct { 20 } else { 1 }).await);
    assert_eq!(end_of(&mut seen).await.cause, Cause::Gone);
    if !direct {
        // A stream would find out by its heartbeat, after 30 s.
        return;
    }
    let client = Client::open(server.address(), "/room/").await;
    let mut events = client.events(&[]).await;
    events.head().await;
    drop(events);
    assert_eq!(end_of(&mut seen).await.cause, Cause::Gone);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn the_next_poll_gets_the_consumers_close() {
    let (server, mut seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    client.send(&json!(["last words", "close 4001"])).await;
    let how = end_of(&mut seen).await;
    assert_eq!((how.code.0, how.cause), (4001, Cause::Consumer), "the connection ends even if nobody polls");
    let batch = client.poll(0).await;
    assert_eq!(batch.json()["messages"], json!(["last words"]));
    // If the answer is lost, the last batch is sent again, until it is acknowledged.
    assert_eq!(client.poll(0).await.body, batch.body);
    assert_eq!(client.take(&batch)["close"], json!({ "code": 4001, "reason": "as asked" }));
    // Messages that a client sends meanwhile are dropped, as on a WebSocket that closes.
    is_gone(&client.poll(0).await);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_client_can_close_a_connection_that_has_ended() {
    let (server, mut seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    client.say("close 4001").await;
    end_of(&mut seen).await;
    client.say("into the void").await;
    assert_eq!(client.poll(0).await.json()["close"]["code"], 4001);
    assert_eq!(client.close("").await.status, 204);
    is_gone(&client.poll(0).await);
    assert!(seen.try_recv().is_err(), "the consumer heard nothing after the end");
}

#[actix_web::test]
async fn a_hook_that_fails_closes_with_1011() {
    let (server, mut seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let waiting = client.begin_poll(20).await;
    client.say("fail").await;
    assert_eq!(client.take(&finish(waiting).await)["close"]["code"], 1011);
    assert_eq!(end_of(&mut seen).await.cause, Cause::Error);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_poll_that_waits_when_its_client_closes_gets_the_close() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let waiting = client.begin_poll(20).await;
    // This poll may not have arrived yet. The next poll would get the same close.
    assert_eq!(client.close(r#"{"code":1001,"reason":""}"#).await.status, 204);
    assert_eq!(client.take(&finish(waiting).await)["close"], json!({ "code": 1001, "reason": "" }));
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_server_that_shuts_down_tells_every_client() {
    let (mount, mut seen) = mount(Fallback::new());
    let server = greenroom::testing::LiveServer::start(&mount, 2).unwrap();
    let mut waits = Client::open(server.address(), "/room/").await;
    let mut polls = Client::open(server.address(), "/room/").await;
    let streams = Client::open(server.address(), "/room/").await;
    let mut events = streams.events(&[]).await;
    events.head().await;
    polls.say("hello").await;
    let waiting = waits.begin_poll(20).await;
    let drained = async { server.drain(Duration::from_secs(20)).await };
    let clients = async {
        let close = waits.take(&finish(waiting).await)["close"].clone();
        assert_eq!(close["code"], 1012);
        let reason = close["reason"].as_str().unwrap();
        assert!(reason.starts_with("retry=") && reason.ends_with("ms"), "{reason}");
        assert_eq!(events.next().await.unwrap().1["close"]["code"], 1012);
        assert_eq!(events.next().await, None);
        let last = polls.batch().await;
        assert_eq!((&last["messages"], &last["close"]["code"]), (&json!(["hello"]), &json!(1012)));
    };
    let (left, ()) = tokio::join!(drained, clients);
    assert_eq!(left, 0);
    for _ in 0..3 {
        assert_eq!(end_of(&mut seen).await.cause, Cause::Shutdown);
    }
}

#[actix_web::test]
async fn a_server_that_shuts_down_refuses_new_connections() {
    use super::client::{OWN, ask};
    let drain = greenroom::Drain::new();
    let (mount, _seen) = mount(Fallback::new());
    let mount = mount.drain(drain.clone());
    assert_eq!(drain.drain(Duration::ZERO).await, 0);
    // The mount is in an ordinary server, because a server that ran with this drain would stop.
    let app = actix_web::App::new().configure(mount.configure());
    let server = actix_web::HttpServer::new({
        let mount = mount.clone();
        move || actix_web::App::new().configure(mount.configure())
    })
    .workers(1)
    .bind("127.0.0.1:0")
    .unwrap();
    drop(app);
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let answer = ask(address, "POST", "/room/?greenroom=open", &[OWN], b"").await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    handle.stop(false).await;
    running.await.unwrap().unwrap();
}

/// It takes two seconds, because a blocked thread cannot have a clock that stands still.
#[actix_web::test]
async fn a_poll_that_came_in_time_is_answered_although_the_thread_was_blocked() {
    let (mount, mut seen) = mount(short());
    let server = greenroom::testing::LiveServer::start(&mount, 1).unwrap();
    let client = Client::open(server.address(), "/room/").await;
    let target = client.target("send", "seq=1");
    let send = begin(server.address(), "POST", &target, &[OWN, JSON], br#"["block 1500"]"#).await;
    while !matches!(seen.recv().await, Some(Seen::Heard(_))) {}
    // The hook blocks the thread now. These requests wait in the kernel until the connection would have expired.
    let poll = client.begin_poll(0).await;
    assert_eq!(finish(poll).await.status, 204);
    assert_eq!(finish(send).await.status, 204);
    assert_eq!(client.poll(0).await.status, 204, "the connection lives");
}

#[actix_web::test]
async fn a_close_waits_for_a_client_that_polls_seldom() {
    pause();
    let (mount, _seen) = mount(Fallback::new());
    let app = init_service(App::new().configure(mount.configure())).await;
    let post = |target: &str, body: &'static str| {
        let request = TestRequest::post().uri(target).insert_header(OWN).insert_header(JSON);
        call_service(&app, request.set_payload(body).to_request())
    };
    let opened: serde_json::Value = read_body_json(post("/room/?greenroom=open", "").await).await;
    let id = opened["id"].as_str().unwrap();
    let sent = post(&format!("/room/?greenroom=send&id={id}&seq=1"), r#"["close 4001"]"#).await;
    assert_eq!(sent.status(), 204);
    tokio::time::sleep(Duration::from_secs(29)).await;
    let poll = TestRequest::get().uri(&format!("/room/?greenroom=poll&id={id}&wait=0")).to_request();
    let batch: serde_json::Value = read_body_json(call_service(&app, poll).await).await;
    assert_eq!(batch["close"]["code"], 4001);
}
