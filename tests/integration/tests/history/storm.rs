//! Many clients that come and go while everybody sends, and requests to resume that are strange.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use greenroom::{Limits, Mount, history::History, prelude::*, testing::LiveServer};
use integration_tests::history::{Frame, Memory, Reader, resume_frame};
use serde_json::json;

use super::{Chat, Said, layer, numbers, room, say, server};

/// The next message of a log: its offset. What else comes is skipped.
async fn offset(reader: &mut Reader) -> u64 {
    loop {
        match reader.frame().await {
            Frame::Text(_, Some((offset, _))) => return offset,
            Frame::Control(control) => assert!(control["lost"].is_null(), "{control}"),
            Frame::Text(..) | Frame::Mark(_) => {}
        }
    }
}

/// Comes and goes some times, and at the end reads up to `until`. Every event comes once and in order.
async fn come_and_go(server: Rc<LiveServer>, number: u64, until: Rc<Cell<u64>>) {
    let mut dice = number;
    let mut below = move |most: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % most
    };
    let mut reader = Reader::new(&server, "/chat_1/").await;
    let mut last = reader.memory.logs.values().next().expect("it is in one log").offset;
    for _ in 0..6 {
        if below(4) == 0 {
            reader.say("from a client").await;
        }
        for _ in 0..below(30) {
            let next = offset(&mut reader).await;
            assert_eq!(next, last + 1, "client {number}");
            last = next;
        }
        let memory = reader.cut();
        reader = Reader::again(&server, "/chat_1/", memory).await;
        assert_eq!(reader.outcome(), "recovered", "client {number}");
    }
    while until.get() == 0 || last < until.get() {
        let next = offset(&mut reader).await;
        assert_eq!(next, last + 1, "client {number}");
        last = next;
    }
}

#[actix_web::test]
async fn clients_that_are_cut_at_random_miss_nothing() {
    const CLIENTS: u64 = 100;
    let layer = layer(History::last(10_000));
    let server = Rc::new(server(&layer));
    let until = Rc::new(Cell::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| actix_web::rt::spawn(come_and_go(Rc::clone(&server), number, Rc::clone(&until))))
        .collect();
    let began = Instant::now();
    let mut sent = 0;
    // Two threads of the server send too, for clients.
    while began.elapsed() < Duration::from_secs(3) || layer.metrics().recovered < CLIENTS * 6 {
        say(&layer, sent..sent + 1).await;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // All have been back for the last time. What clients have said is in the log by now.
    say(&layer, 0..1).await;
    let top = layer.history(&room()).position().await.unwrap().offset();
    until.set(top);
    say(&layer, 0..1).await;
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(layer.metrics().lost_trimmed, 0);
}

#[actix_web::test]
async fn a_request_to_resume_may_be_longer_than_a_message() {
    let layer = layer(History::last(100));
    let make = |scope: &Scope| Ok(Chat { room: GroupName::new(scope.param::<String>("room")?)?, last: None });
    let routes = UrlRouter::new().route("/{room}/", make);
    let mount = Mount::new(routes).unwrap().layer(layer.clone()).limits(Limits::new().message_size(16));
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut memory = Reader::new(&server, "/chat_1/").await.cut();
    say(&layer, 0..2).await;
    let long = (0..8).map(|number| format!("{number}{}", "x".repeat(100)));
    memory.was.splice(0..0, long.take(7));
    let mut reader = Reader::again(&server, "/chat_1/", memory).await;
    assert_eq!(reader.outcome(), "recovered");
    assert_eq!(reader.texts(3).await, ["resumed true []", "0", "1"]);
    // The bound holds for what is for the consumer.
    reader.say(&"x".repeat(17)).await;
    assert_eq!(reader.closed().await.0, 1009);
}

#[actix_web::test]
async fn a_second_request_to_resume_changes_nothing() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let memory = Reader::new(&server, "/chat_1/").await.cut();
    say(&layer, 0..3).await;
    let mut client = Reader::handshake(&server, "/chat_1/", true).await;
    client.send(&resume_frame(&memory)).await;
    client.send(&resume_frame(&memory)).await;
    client.send("mlast").await;
    let mut texts = Vec::new();
    while !texts.last().is_some_and(|text: &String| text.ends_with("\nlast")) {
        texts.push(client.text().await);
    }
    assert_eq!(texts.len(), 1 + 1 + 3 + 1, "{texts:?}");
    assert!(texts[0].starts_with(r#"c{"hello""#));
}

#[actix_web::test]
async fn a_client_that_names_too_many_places_has_lost_them_all() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    let memory = Reader::new(&server, "/chat_1/").await.cut();
    let place = memory.logs.values().next().unwrap();
    // Short ones, so that the frame is not too large.
    let mut logs: Vec<_> = (0..1_000).map(|_| json!(["", 0, "000000"])).collect();
    logs.push(json!([place.token, place.offset, place.tag]));
    let mut client = Reader::handshake(&server, "/chat_1/", true).await;
    client.send(&format!("c{}", json!({ "resume": { "logs": logs } }))).await;
    let hello = client.text().await;
    assert!(hello.contains(r#":"too_many"},"recovered":false"#), "{hello}");
    // It goes on from now.
    assert_eq!(client.text().await, r#"mresumed false ["chat_1:too_many"]"#);
    say(&layer, 7..8).await;
    assert!(client.text().await.ends_with("\n7"));
}

#[actix_web::test]
async fn a_client_that_resumes_with_nothing_gets_all_from_now_on() {
    let layer = layer(History::last(100));
    let server = server(&layer);
    say(&layer, 0..3).await;
    let mut reader = Reader::again(&server, "/chat_1/", Memory::default()).await;
    layer.group_send(&room(), Said { text: "3".to_owned() }).await.unwrap();
    assert_eq!(reader.texts(1).await, numbers(3..4));
}
