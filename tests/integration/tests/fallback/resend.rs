//! No message is lost and none comes twice: batches are sent until they are acknowledged, and requests may be repeated.

use greenroom::{Fallback, Message};
use serde_json::json;

use super::{
    Seen,
    client::{Client, finish},
    mount, serve,
};

#[actix_web::test]
async fn a_lost_answer_is_sent_again_unchanged() {
    let (mount, _seen) = mount(Fallback::new());
    let layer = mount.default_layer().clone();
    let server = greenroom::testing::LiveServer::start(&mount, 2).unwrap();
    let mut client = Client::open(server.address(), "/room/").await;
    client.say("one").await;
    let first = client.poll(20).await;
    client.say("two").await;
    // If the answer was lost, a poll without an acknowledgement gets it again, without any newer message.
    let again = client.poll(20).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(client.poll(0).await.body, first.body);
    assert_eq!(client.take(&again)["messages"], json!(["one"]));
    assert_eq!(client.batch().await, json!({ "batch": 2, "messages": ["two"] }));
    assert_eq!(client.poll(0).await.status, 204);
    assert_eq!(layer.metrics().resent, 2);
}

#[actix_web::test]
async fn an_older_acknowledgement_changes_nothing() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    for text in ["one", "two"] {
        client.say(text).await;
        client.batch().await;
    }
    assert_eq!(client.poll(0).await.status, 204);
    client.ack = 0;
    assert_eq!(client.poll(0).await.status, 204, "both were acknowledged");
}

#[actix_web::test]
async fn a_client_that_leaves_a_held_poll_misses_nothing() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    for text in ["one", "two", "three"] {
        drop(client.begin_poll(20).await);
        client.say(text).await;
    }
    let mut messages = Vec::new();
    while messages.len() < 3 {
        let answer = client.poll(20).await;
        // A poll that was left may arrive behind this one, and take its place.
        if answer.status != 409 {
            messages.extend(client.take(&answer)["messages"].as_array().expect("a list").iter().cloned());
        }
    }
    assert_eq!(messages, ["one", "two", "three"]);
}

#[actix_web::test]
async fn a_newer_poll_replaces_an_older_one() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let mut newest = client.begin_poll(20).await;
    for _ in 0..3 {
        let newer = client.begin_poll(20).await;
        // The poll that arrived first is the older one.
        let (done, waits) = either(newest, newer).await;
        assert_eq!(done.error(), (409, "superseded".to_owned()));
        newest = waits;
    }
    client.say("here").await;
    assert_eq!(client.take(&finish(newest).await)["messages"], json!(["here"]));
}

/// Waits until one of two polls is answered. Returns its answer and the other poll.
async fn either(
    one: tokio::net::TcpStream,
    other: tokio::net::TcpStream,
) -> (super::client::Answer, tokio::net::TcpStream) {
    let is_one = tokio::select! {
        _ = one.readable() => true,
        _ = other.readable() => false,
    };
    if is_one { (finish(one).await, other) } else { (finish(other).await, one) }
}

#[actix_web::test]
async fn messages_that_are_sent_again_are_heard_once() {
    let (server, mut seen) = serve(Fallback::new());
    let client = Client::open(server.address(), "/room/").await;
    for _ in 0..3 {
        assert_eq!(client.post(1, br#"["one"]"#).await.status, 204);
    }
    assert_eq!(client.post(2, br#"["two"]"#).await.status, 204);
    assert_eq!(seen.recv().await, Some(Seen::Connect));
    for text in ["one", "two"] {
        assert_eq!(seen.recv().await, Some(Seen::Heard(Message::Text(text.into()))));
    }
}

#[actix_web::test]
async fn a_stream_goes_on_after_the_last_event_id() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let mut events = client.events(&[]).await;
    let mut batches = Vec::new();
    for text in ["one", "two", "three"] {
        client.say(text).await;
        batches.push(events.next().await.unwrap());
    }
    drop(events);
    // The EventSource of a browser asks like this, with its old address.
    let mut events = client.events(&[("last-event-id", "1")]).await;
    assert_eq!(events.next().await.as_ref(), Some(&batches[1]));
    assert_eq!(events.next().await.as_ref(), Some(&batches[2]));
    client.say("four").await;
    assert_eq!(events.next().await, Some((4, json!({ "batch": 4, "messages": ["four"] }))));
}

#[actix_web::test]
async fn a_client_may_change_from_a_stream_to_polls_and_back() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let mut events = client.events(&[]).await;
    for text in ["one", "two"] {
        client.say(text).await;
        events.next().await.unwrap();
    }
    // The first of the two did not arrive.
    assert_eq!(client.batch().await["messages"], json!(["one"]));
    assert_eq!(client.batch().await["messages"], json!(["two"]));
    assert_eq!(events.next().await, None, "a newer request took its place");
    client.say("three").await;
    let mut events = client.events(&[]).await;
    assert_eq!(events.next().await, Some((3, json!({ "batch": 3, "messages": ["three"] }))));
}
