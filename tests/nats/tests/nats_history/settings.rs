//! Servers and processes that are set up in other ways.

use greenroom::{
    GroupName,
    layers::nats::{Away, JetStream},
};
use redis_tests::Note;

use super::*;

/// Without JetStream a process keeps its own logs: clients come back to it, and other processes are told the truth.
#[actix_web::test]
async fn without_jetstream_a_process_keeps_its_own_logs() {
    let nats = NatsServer::start();
    let (first, second) = (start(config(&nats)).await, start(config(&nats)).await);
    let mut reader = first.join("/room/").await;
    let mut other = second.join("/room/").await;
    first.send([1]).await;
    second.send([2]).await;
    let mut heard = reader.texts(2).await;
    let in_order = heard.clone();
    heard.sort();
    assert_eq!(heard, texts(1..=2));
    other.texts(2).await;
    let page = first.layer.history(&GroupName::new("room").unwrap()).read().await.unwrap();
    let numbers = page.events.iter().map(|event| event.envelope.event::<Note>().unwrap().number);
    assert_eq!((texts(numbers), page.complete), (in_order, true));
    let memory = reader.cut();
    first.send([3]).await;
    second.send([4]).await;
    other.texts(2).await;
    let mut reader = first.back("/room/", memory.clone()).await;
    assert_eq!(reader.outcome(), "recovered");
    let mut heard = reader.texts(2).await;
    heard.sort();
    assert_eq!(heard, texts(3..=4));
    // Each process has its own secret, so that the other cannot even read the place.
    let reader = second.back("/room/", memory).await;
    assert!(
        reader.resumed.as_object().unwrap().values().all(|outcome| *outcome != true),
        "{:?}",
        reader.resumed
    );
}

/// Starts a server with a user of few rights: what the docs name, and `more`. Returns it and the user's URL.
fn with_rights(more: &str) -> (NatsServer, String) {
    let text = r#"
        authorization: { users: [
            { user: ann, password: secret, permissions: {
                publish: ["greenroom.>",
                    "$JS.API.STREAM.INFO.GR_greenroom_0", "$JS.API.STREAM.INFO.GR_greenroom_KEY",
                    "$JS.API.STREAM.CREATE.GR_greenroom_0", "$JS.API.STREAM.CREATE.GR_greenroom_KEY",
                    "$JS.API.STREAM.UPDATE.GR_greenroom_0",
                    "$JS.API.DIRECT.GET.GR_greenroom_0", "$JS.API.DIRECT.GET.GR_greenroom_KEY", MORE],
                subscribe: "greenroom.>"
            } }
            { user: operator, password: secret }
        ] }"#;
    let nats = NatsServer::jetstream_configured(&text.replace("MORE", more));
    let url = format!("nats://ann:secret@127.0.0.1:{}", nats.port());
    (nats, url)
}

/// A user that may do only what the docs name can use history, with the rights for consumers of JetStream and without.
#[actix_web::test]
async fn a_user_of_few_rights_can_use_history() {
    let consumers = r#""$JS.API.CONSUMER.CREATE.GR_greenroom_0", "$JS.API.CONSUMER.MSG.NEXT.GR_greenroom_0.*",
        "$JS.API.CONSUMER.DELETE.GR_greenroom_0.*""#;
    for more in ["", consumers] {
        let (_nats, url) = with_rights(more);
        let layer = LayerConfig::new().history("room*", History::last(50));
        let config =
            || NatsConfig::new(&url).layer(layer.clone()).timeout(Duration::from_secs(1)).away(Away::Error);
        let first = start(config()).await;
        let mut reader = first.join("/room/").await;
        first.send(1..=2).await;
        assert_eq!(reader.texts(2).await, texts(1..=2));
        let memory = reader.cut();
        first.send(3..=40).await;
        let second = start(config()).await;
        let mut reader = second.back("/room/", memory).await;
        assert_eq!((reader.outcome(), reader.texts(38).await), ("recovered".to_owned(), texts(3..=40)));
    }
}

/// If the layer may not make streams, the process keeps its own logs until an operator has made them.
#[actix_web::test]
async fn an_operator_may_make_the_streams() {
    let nats = NatsServer::jetstream();
    let own = start(config(&nats).jetstream(JetStream::new().create(false))).await;
    let mut reader = own.join("/room/").await;
    own.send([1]).await;
    assert_eq!(reader.text().await, "1");
    assert_eq!(nats.ask_stream("INFO", json!({})).await["error"]["err_code"], 10_059, "nobody has made it");
    // Another process makes it. The first finds it after a while.
    let maker = start(config(&nats)).await;
    let mut other = maker.join("/room/").await;
    let joined = async {
        loop {
            own.send([2]).await;
            if timeout(Duration::from_millis(200), other.text()).await.is_ok() {
                let state = nats.ask_stream("INFO", json!({})).await;
                if state["state"]["messages"].as_u64().unwrap() > 1 {
                    return;
                }
            }
        }
    };
    timeout(PATIENCE, joined).await.expect("it uses the stream in the end");
}

/// Two processes with other policies for the same group: all members get all events, and nobody is told a falsehood.
#[actix_web::test]
async fn other_policies_lose_no_event() {
    let nats = NatsServer::jetstream();
    let first = start(config(&nats)).await;
    let layer = LayerConfig::new().history("hall*", policy()).history("room*", policy());
    let second = start(NatsConfig::new(nats.url()).layer(layer)).await;
    let (mut one, mut two) = (first.join("/room/").await, second.join("/room/").await);
    first.send([1]).await;
    assert_eq!((one.text().await, two.text().await), ("1".to_owned(), "1".to_owned()));
    second.send([2]).await;
    assert_eq!((one.text().await, two.text().await), ("2".to_owned(), "2".to_owned()));
    // A process without a policy.
    let third = start(NatsConfig::new(nats.url())).await;
    third.send([3]).await;
    assert_eq!((one.text().await, two.text().await), ("3".to_owned(), "3".to_owned()));
}
