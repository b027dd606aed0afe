//! Several processes, nothing broken.

use conformance_tests::history::assert_one_order;

use super::*;

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
    let written = |number| {
        let bytes =
            greenroom::Envelope::new(note(number)).to_wire(greenroom::event::Format::MsgPack).unwrap();
        bytes.to_vec().into()
    };
    stranger.publish("greenroom.log.0.room", written(1)).await.unwrap();
    assert_eq!(reader.text().await, "1");
    let memory = reader.cut();
    stranger.request("greenroom.log.0.room", written(2)).await.unwrap();
    let mut reader = process.back("/room/", memory).await;
    assert_eq!((reader.outcome(), reader.text().await), ("recovered".to_owned(), "2".to_owned()));
    stranger.publish("greenroom.group.room", written(3)).await.unwrap();
    assert_eq!(reader.text().await, "3");
}
