//! Several processes, nothing broken.

use conformance_tests::history::assert_one_order;
use futures_util::StreamExt;
use greenroom::{Bytes, Envelope, event::Format, prelude::*};

use super::*;

/// A note with some more bytes.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event("note")]
struct LongNote {
    number: u64,
    fill: String,
}

/// A note as another program writes it.
fn written(event: impl Event) -> Bytes {
    Envelope::new(event).to_wire(Format::MsgPack).unwrap()
}

/// Two processes see the same order, each event once, the sender's own too; late joiners get the last ones.
#[actix_web::test]
async fn all_members_see_one_order() {
    let nats = NatsServer::jetstream();
    let (first, second) = (start(config(&nats)).await, start(config(&nats)).await);
    let mut readers = [first.join("/room/").await, second.join("/room/").await];
    for number in 1..=20 {
        let process = if number % 2 == 0 { &first } else { &second };
        process.send([number]).await;
    }
    for reader in &mut readers {
        assert_eq!(reader.texts(20).await, texts(1..=20));
    }
    for process in [&first, &second, &start(config(&nats)).await] {
        assert_eq!(process.join("/room/?last=5").await.texts(5).await, texts(16..=20));
        assert_eq!(process.join("/room/?last=100").await.texts(10).await, texts(11..=20));
    }
}

/// Senders on two processes at once: all members get all events once, in the same order.
#[actix_web::test]
async fn senders_at_once_make_one_order() {
    let nats = NatsServer::jetstream();
    let wide = || config_of(&nats, History::last(2_000));
    let (first, second) = (start(wide()).await, start(wide()).await);
    assert_one_order(&first, &second, 300).await;
}

/// A group that is silent for longer than its policy's time keeps its members' places.
#[actix_web::test]
async fn a_silent_group_keeps_its_places() {
    let nats = NatsServer::jetstream();
    let short = || config_of(&nats, History::last(10).within(Duration::from_secs(1)));
    let (first, second) = (start(short()).await, start(short()).await);
    let mut reader = first.join("/room/").await;
    let mut other = second.join("/room/").await;
    first.send(1..=3).await;
    assert_eq!(reader.texts(3).await, texts(1..=3));
    assert_eq!(other.texts(3).await, texts(1..=3));
    let is_over = async {
        // The three events are gone, and only marks are left.
        while nats.ask_stream("INFO", json!({})).await["state"]["first_seq"].as_u64().unwrap() < 6 {}
    };
    timeout(PATIENCE, is_over).await.unwrap();
    let memory = reader.cut();
    let third = start(short()).await;
    let mut reader = third.back("/room/", memory).await;
    assert_eq!(reader.outcome(), "recovered");
    first.send(4..=5).await;
    assert_eq!(reader.texts(2).await, texts(4..=5));
    assert_eq!(other.texts(2).await, texts(4..=5));
    assert_eq!(second.layer.metrics().lost_trimmed, 0);
}

/// Another NATS program adds to a log by a plain publication, and one to the group itself is delivered too.
#[actix_web::test]
async fn other_programs_take_part() {
    let nats = NatsServer::jetstream();
    let process = start(config(&nats)).await;
    let mut reader = process.join("/room/").await;
    let stranger = nats.connect().await;
    stranger.publish("greenroom.log.0.room", written(note(1))).await.unwrap();
    assert_eq!(reader.text().await, "1");
    let memory = reader.cut();
    stranger.request("greenroom.log.0.room", written(note(2))).await.unwrap();
    let mut reader = process.back("/room/", memory).await;
    assert_eq!((reader.outcome(), reader.text().await), ("recovered".to_owned(), "2".to_owned()));
    stranger.publish("greenroom.group.room", written(note(3))).await.unwrap();
    assert_eq!(reader.text().await, "3");
}

/// A process that has not heard of a group reads its log in a few requests, although other groups' events stand between.
#[actix_web::test]
async fn a_log_is_read_in_a_few_requests() {
    let nats = NatsServer::jetstream();
    let wide = || config_of(&nats, History::last(400));
    let first = start(wide()).await;
    let mut early = first.join("/room/").await;
    let stranger = nats.connect().await;
    for number in 0..400 {
        let subject = format!("greenroom.log.0.room{number}");
        stranger.publish(subject, written(note(number))).await.unwrap();
        stranger.publish("greenroom.log.0.room", written(note(number))).await.unwrap();
    }
    assert_eq!(early.texts(100).await, texts(0..100));
    let memory = early.cut();
    let second = start(wide()).await;
    let mut asked = nats.hear("$JS.API.>").await;
    let mut late = second.join("/room/?last=390").await;
    assert_eq!(late.texts(390).await, texts(10..400));
    let third = start(wide()).await;
    let mut early = third.back("/room/", memory).await;
    assert_eq!((early.outcome(), early.texts(300).await), ("recovered".to_owned(), texts(100..400)));
    let count = async {
        stranger.publish("$JS.API.counted", "".into()).await.unwrap();
        let mut requests = 0;
        while &*asked.next().await.unwrap().subject != "$JS.API.counted" {
            requests += 1;
        }
        requests
    };
    let requests = timeout(PATIENCE, count).await.unwrap();
    assert!(requests < 60, "{requests} requests");
}

/// A log that is too long to be read as a whole is read in parts.
#[actix_web::test]
async fn a_long_log_is_read_by_another_process() {
    let nats = NatsServer::jetstream();
    let wide = || config_of(&nats, History::last(2_000));
    let first = start(wide()).await;
    let mut early = first.join("/room/").await;
    let stranger = nats.connect().await;
    for number in 0..2_000 {
        stranger.publish("greenroom.log.0.room", written(note(number))).await.unwrap();
    }
    assert_eq!(early.texts(2_000).await, texts(0..2_000));
    let second = start(wide()).await;
    let mut late = second.join("/room/?last=1500").await;
    assert_eq!(late.texts(1_500).await, texts(500..2_000));
}

/// Messages that are larger than what is read at once come all the same.
#[actix_web::test]
async fn large_events_are_read_by_another_process() {
    let nats = NatsServer::jetstream_configured("max_payload: 8MB");
    let wide = || config_of(&nats, History::last(100));
    let first = start(wide()).await;
    let mut early = first.join("/room/").await;
    let stranger = nats.connect().await;
    for number in 0..30 {
        // Many together, and one alone, have more than 4 MiB.
        let length = if number == 20 { 5_000_000 } else { 500_000 };
        let event = LongNote { number, fill: "x".repeat(length) };
        stranger.request("greenroom.log.0.room", written(event)).await.unwrap();
    }
    assert_eq!(early.texts(30).await, texts(0..30));
    let second = start(wide()).await;
    let mut late = second.join("/room/?last=28").await;
    assert_eq!(late.texts(28).await, texts(2..30));
}
