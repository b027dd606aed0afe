//! Requests over every transport.

use std::time::Duration;

use greenroom::{Fallback, Mount, prelude::*, testing::LiveServer};
use integration_tests::{
    Gate, PATIENCE,
    clients::{self, TestClient},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Desk;

fn server() -> (LiveServer, Gate) {
    let desk = Desk::default();
    let gate = desk.gate.clone();
    let routes = UrlRouter::new().route("/desk", move |_: &Scope| Ok(desk.clone()));
    // Long enough between two requests on a machine that is busy with other tests.
    let fallback = Fallback::new().expires(Duration::from_secs(2));
    (LiveServer::start(&Mount::new(routes).unwrap().fallback(fallback), 2).unwrap(), gate)
}

async fn open<C: TestClient>(server: &LiveServer) -> C {
    C::open(server.address(), "/desk", &[]).await.expect("the consumer accepts").client
}

async fn ask(client: &mut impl TestClient, id: u64, input: Value) {
    client.say(&json!({"type": "greenroom.request", "id": id, "input": input}).to_string()).await;
}

async fn a_request_has_its_answer<C: TestClient>() {
    let (server, gate) = server();
    let mut client: C = open(&server).await;
    ask(&mut client, 7, json!({"echo": "é \"x\""})).await;
    assert_eq!(client.text().await, r#"{"type":"greenroom.answer","id":7,"value":"é \"x\""}"#);

    ask(&mut client, 8, json!({"say": "first"})).await;
    client.say(r#"{"echo":"a message"}"#).await;
    assert_eq!(client.text().await, "first");
    assert_eq!(client.text().await, r#"{"type":"greenroom.answer","id":8,"value":"first"}"#);
    assert_eq!(client.text().await, "a message");

    // The second answer comes first.
    ask(&mut client, 9, json!({"wait": {"echo": "late"}})).await;
    gate.visited().await;
    ask(&mut client, 10, json!({"echo": "early"})).await;
    assert_eq!(client.text().await, r#"{"type":"greenroom.answer","id":10,"value":"early"}"#);
    gate.open();
    assert_eq!(client.text().await, r#"{"type":"greenroom.answer","id":9,"value":"late"}"#);

    // An error of either kind leaves the connection open.
    ask(&mut client, 11, json!("refuse")).await;
    let refused =
        r#"{"type":"greenroom.answer","id":11,"error":{"code":"not_found","text":"no such \"room\""}}"#;
    assert_eq!(client.text().await, refused);
    ask(&mut client, 12, json!("fail")).await;
    let failed = r#"{"type":"greenroom.answer","id":12,"error":{"code":"internal","text":"the server could not answer"}}"#;
    assert_eq!(client.text().await, failed);
    ask(&mut client, 13, json!({"echo": 5})).await;
    let invalid: Value = serde_json::from_str(&client.text().await).unwrap();
    assert_eq!((&invalid["id"], &invalid["error"]["code"]), (&json!(13), &json!("invalid")));
    let reason = invalid["error"]["text"].as_str().unwrap();
    assert!(reason.contains("invalid type: integer `5`, expected a string"), "{reason}");
    client.close(Some(1000), "").await;
    timeout(PATIENCE, server.wait_until_empty()).await.expect("an end in time");
}

async fn a_client_that_vanishes_before_its_answer_leaves_nothing<C: TestClient>() {
    let (server, gate) = server();
    let mut client: C = open(&server).await;
    ask(&mut client, 1, json!({"wait": {"echo": "late"}})).await;
    gate.visited().await;
    client.vanish().await;
    timeout(PATIENCE, server.wait_until_empty()).await.expect("an end in time");
}

macro_rules! over {
    ($($transport:ident: $client:ident),* $(,)?) => {
        $(mod $transport {
            #[actix_web::test]
            async fn a_request_has_its_answer() {
                super::a_request_has_its_answer::<super::clients::$client>().await;
            }

            #[actix_web::test]
            async fn a_client_that_vanishes_before_its_answer_leaves_nothing() {
                super::a_client_that_vanishes_before_its_answer_leaves_nothing::<super::clients::$client>().await;
            }
        })*
    };
}

over! {
    websocket: WebSocket,
    event_stream: EventStream,
    long_polling: LongPolling,
    polling: Polling,
}

/// The client in Python was written from the description of the protocol.
macro_rules! python {
    ($($transport:ident: $client:ident),* $(,)?) => {
        $(#[actix_web::test]
        async fn $transport() {
            let (server, _gate) = server();
            let mut client: clients::$client = open(&server).await;
            assert_eq!(client.request(&json!({"echo": "x"})).await, Ok(json!("x")));
            // What comes before the answer is received afterwards.
            assert_eq!(client.request(&json!({"say": "first"})).await, Ok(json!("first")));
            assert_eq!(client.text().await, "first");
            let refused = ("not_found".to_owned(), "no such \"room\"".to_owned());
            assert_eq!(client.request(&json!("refuse")).await, Err(refused));
            assert_eq!(client.request(&json!({"echo": 5})).await.unwrap_err().0, "invalid");
            client.close(Some(1000), "").await;
        })*
    };
}

python! {
    python_asks_by_event_stream: PythonEventStream,
    python_asks_by_long_polling: PythonLongPolling,
    python_asks_by_polling: PythonPolling,
}
