//! Logs on three servers, of which one is killed.

use greenroom::{
    GroupName,
    layers::nats::{Away, JetStream},
};
use redis_tests::{eventually, is_away};

use super::*;

fn config_of_all(servers: &[NatsServer; 3]) -> NatsConfig {
    let layer = LayerConfig::new().history("room*", History::last(400));
    let config = NatsConfig::new(servers[0].url()).and_server(servers[1].url()).and_server(servers[2].url());
    config
        .layer(layer)
        .timeout(Duration::from_secs(5))
        .away(Away::Error)
        .jetstream(JetStream::new().replicas(3))
}

/// Sends notes, one after the other, each as often as it fails.
async fn send(process: &Process, numbers: impl IntoIterator<Item = u64>) {
    let room = GroupName::new("room").unwrap();
    for number in numbers {
        while process.layer.group_send(&room, note(number)).await.is_err() {
            eventually("the layer is back", || !is_away(&process.layer)).await;
        }
    }
}

/// What a client gets up to a note, each note once: a send that failed may have been kept all the same.
async fn texts_up_to(reader: &mut Reader, last: u64) -> Vec<String> {
    let mut heard: Vec<String> = Vec::new();
    while heard.last() != Some(&last.to_string()) {
        let text = reader.text().await;
        if heard.last() != Some(&text) {
            heard.push(text);
        }
    }
    heard
}

/// The server that decides about the stream is killed in the middle of talk. Those who are there miss nothing, and neither
/// does who was away, on a process that has never heard of the group. (The servers take some seconds to choose another.)
#[actix_web::test]
async fn a_log_on_three_servers_outlives_the_one_that_decides() {
    let mut servers = NatsServer::jetstream_cluster().await;
    let (first, second) = (start(config_of_all(&servers)).await, start(config_of_all(&servers)).await);
    let (mut reader, mut here) = (first.join("/room/").await, second.join("/room/").await);
    send(&first, 1..=50).await;
    assert_eq!(texts_up_to(&mut reader, 50).await, texts(1..=50));
    let memory = reader.cut();
    send(&second, 51..=100).await;
    let leader = servers[0].leader().await;
    servers[leader].kill();
    send(&first, 101..=150).await;
    send(&second, 151..=200).await;
    assert_eq!(texts_up_to(&mut here, 200).await, texts(1..=200));
    let third = start(config_of_all(&servers)).await;
    let mut reader = third.back("/room/", memory).await;
    assert_eq!(
        (reader.outcome(), texts_up_to(&mut reader, 200).await),
        ("recovered".to_owned(), texts(51..=200))
    );
}
