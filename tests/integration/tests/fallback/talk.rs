//! The usual requests of a client: open, poll, stream, send and close.

use greenroom::{Fallback, Message, close::Cause};
use serde_json::json;

use super::{
    Seen,
    client::{Client, JSON, OWN, ask},
    end_of, serve,
};

#[actix_web::test]
async fn a_client_opens_talks_and_closes() {
    let (server, mut seen) = serve(Fallback::new());
    let answer = ask(server.address(), "POST", "/room/?greenroom=open", &[OWN], b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let opened = answer.json();
    assert_eq!(
        (&opened["protocol"], &opened["wait"], &opened["expires"], &opened["limit"]),
        (&json!(null), &json!(20), &json!(30.0), &json!(1 << 20))
    );
    let mut client = Client::opened(server.address(), "/room/", &answer);
    assert_eq!(client.id.len(), 40);
    client.send(&json!(["one", "", "two \"\u{1f600}\"\n"])).await;
    client.send(&json!([{ "binary": "/wABAg==" }])).await;
    assert_eq!(
        client.messages(4).await,
        [json!("one"), json!(""), json!("two \"\u{1f600}\"\n"), json!({ "binary": "/wABAg==" })]
    );
    assert_eq!(client.close(r#"{"code":4000,"reason":"bye"}"#).await.status, 204);
    let how = end_of(&mut seen).await;
    assert_eq!((how.code.0, &*how.reason, how.cause), (4000, "bye", Cause::Client));
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_poll_waits_for_messages_and_takes_all_of_them() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let mut other = Client::open(server.address(), "/room/").await;
    let waiting = client.begin_poll(20).await;
    other.send(&json!(["room a", "room b", "room c"])).await;
    let first = client.take(&super::client::finish(waiting).await)["messages"].clone();
    let mut messages = first.as_array().unwrap().clone();
    messages.extend(client.messages(3 - messages.len()).await);
    assert_eq!(messages, ["a", "b", "c"]);
    assert_eq!(other.messages(3).await, ["a", "b", "c"]);
}

#[actix_web::test]
async fn a_poll_that_finds_nothing_is_answered_204() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    assert_eq!(client.poll(0).await.status, 204, "plain polling does not wait");
    assert_eq!(client.poll(1).await.status, 204);
    client.say("here").await;
    assert_eq!(client.messages(1).await, ["here"]);
}

#[actix_web::test]
async fn a_stream_brings_batch_after_batch() {
    let (server, mut seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    let mut events = client.events(&[]).await;
    let head = events.head().await.to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for line in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"] {
        assert!(head.contains(line), "{head}");
    }
    for (number, text) in [(1, "one"), (2, "two\nlines"), (3, "three")] {
        client.say(text).await;
        assert_eq!(events.next().await.unwrap(), (number, json!({ "batch": number, "messages": [text] })));
    }
    client.say("close 4321").await;
    let (number, last) = events.next().await.unwrap();
    assert_eq!((number, &last["close"]), (4, &json!({ "code": 4321, "reason": "as asked" })));
    assert_eq!(events.next().await, None, "the stream ends");
    assert_eq!(end_of(&mut seen).await.cause, Cause::Consumer);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_consumer_knows_the_transport_of_the_last_request() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    assert_eq!(client.poll(0).await.status, 204);
    client.say("transport").await;
    assert_eq!(client.messages(1).await, ["polling"]);
    client.say("transport").await;
    assert_eq!(client.messages(1).await, ["long polling"]);
    let mut events = client.events(&[]).await;
    events.head().await;
    client.say("transport").await;
    assert_eq!(events.next().await.unwrap().1["messages"], json!(["events"]));
}

#[actix_web::test]
async fn the_scope_has_the_query_and_the_subprotocols_of_the_application() {
    use greenroom::{Accept, Mount, prelude::*, testing::LiveServer};

    #[derive(NoEvents)]
    struct Mirror;
    impl Consumer for Mirror {
        async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
            let query = ctx.scope().query_string().to_owned();
            ctx.accept_with(Accept::new().subprotocol("b").header("x-query", query))
        }
    }
    let mount = Mount::new(UrlRouter::new().route("/m/", |_: &Scope| Ok(Mirror))).unwrap();
    let server = LiveServer::start(&mount, 1).unwrap();
    let target = "/m/?x=1&greenroom=open&id=5&y=a%20b";
    let answer = ask(server.address(), "POST", target, &[OWN, JSON], br#"{"protocols":["a","b"]}"#).await;
    assert_eq!(answer.json()["protocol"], "b");
    assert_eq!(answer.header("x-query"), Some("x=1&id=5&y=a%20b"));
}

#[actix_web::test]
async fn a_rejection_has_the_status_and_body_of_the_consumer() {
    let (server, _seen) = serve(Fallback::new());
    let answer = ask(server.address(), "POST", "/door/?greenroom=open", &[OWN], b"").await;
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.header("x-why")),
        (418, "no tea", Some("not you"))
    );
    let answer = ask(server.address(), "POST", "/nowhere/?greenroom=open", &[OWN], b"").await;
    assert_eq!(answer.error(), (404, "not_found".to_owned()));
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn messages_are_heard_in_order_and_before_the_close() {
    let (server, mut seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    client.send(&json!(["1", "2"])).await;
    client.say("3").await;
    assert_eq!(client.close("").await.status, 204);
    assert_eq!(seen.recv().await, Some(Seen::Connect));
    for text in ["1", "2", "3"] {
        assert_eq!(seen.recv().await, Some(Seen::Heard(Message::Text(text.into()))));
    }
    let how = end_of(&mut seen).await;
    assert_eq!((how.code.0, how.cause), (1005, Cause::Client));
}
