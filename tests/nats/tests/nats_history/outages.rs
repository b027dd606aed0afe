//! Servers that go away and come back.

use redis_tests::{Proxy, eventually, is_away};

use super::*;

/// The server restarts with its files: members get what they missed without a gap, and who was away comes back.
#[actix_web::test]
async fn a_restarted_server_has_its_files() {
    let mut nats = NatsServer::jetstream();
    let (first, second) = (start(config(&nats)).await, start(config(&nats)).await);
    let mut here = second.join("/room/").await;
    let mut reader = first.join("/room/").await;
    first.send(1..=3).await;
    assert_eq!(reader.texts(3).await, texts(1..=3));
    assert_eq!(here.texts(3).await, texts(1..=3));
    let memory = reader.cut();
    nats.kill();
    eventually("both notice", || is_away(&first.layer) && is_away(&second.layer)).await;
    nats.restart();
    eventually("both are back", || {
        [&first, &second].iter().all(|process| process.layer.metrics().reconnected == 1)
    })
    .await;
    first.send(4..=5).await;
    assert_eq!(here.texts(2).await, texts(4..=5), "there was no gap");
    let mut reader = second.back("/room/", memory).await;
    assert_eq!((reader.outcome(), reader.texts(2).await), ("recovered".to_owned(), texts(4..=5)));
}

/// While a process is cut off, its members get an event that is in no log. The members of other processes are told of a gap
/// as soon as it is back.
#[actix_web::test]
async fn members_of_other_processes_are_told_of_an_event_without_a_log() {
    let nats = NatsServer::jetstream();
    let proxy = Proxy::start(nats.port()).await;
    let layer = LayerConfig::new().history("room*", policy());
    let here = start(NatsConfig::new(format!("nats://127.0.0.1:{}", proxy.port())).layer(layer)).await;
    let there = start(config(&nats)).await;
    let (mut one, mut two) = (here.join("/room/").await, there.join("/room/").await);
    here.send([1]).await;
    assert_eq!((one.text().await, two.text().await), ("1".to_owned(), "1".to_owned()));
    proxy.cut_after(0);
    proxy.cut();
    eventually("it notices", || is_away(&here.layer)).await;
    here.send([2]).await;
    assert_eq!(one.text().await, "2");
    proxy.mend();
    assert_eq!(two.text().await, "gap in room");
    there.send([3]).await;
    assert_eq!((one.text().await, two.text().await), ("3".to_owned(), "3".to_owned()));
}
