//! Clients that go from process to process.

use conformance_tests::history::assert_one_order;
use greenroom::{event::Format, history::Position};
use redis_tests::{Python, eventually, kinds::Core};
use serde_json::json;

use super::*;

both! {
    /// All members of all processes get the events of all senders in one order, each once.
    all_hear_one_order,
    /// What was sent between a leaving and a joining is nobody's who joins.
    a_new_member_gets_nothing_from_before,
    /// With encryption keys nobody reads the log without them.
    entries_are_encrypted,
    /// With several servers a log is on one of them, and the queues of processes on others.
    a_log_works_with_several_servers,
    /// A position comes from a client as a text, so its offset may be any.
    a_position_may_have_any_offset,
}

async fn all_hear_one_order<K: Kind>() {
    let server = RedisServer::start();
    let (first, second) = two::<K>(&server).await;
    assert_one_order(&first, &second, 100).await;
}

async fn a_new_member_gets_nothing_from_before<K: Kind>() {
    let server = RedisServer::start();
    let (first, second) = two::<K>(&server).await;
    for round in 0..5 {
        let mut reader = first.join("/room/").await;
        second.send([10 * round]).await;
        assert_eq!(reader.text().await, (10 * round).to_string());
        drop(reader.cut());
        eventually("Redis knows that the group is empty", || {
            let topics: Vec<String> = server.run(&["PUBSUB", "CHANNELS", "*room"]);
            topics.is_empty() && server.run::<u64>(&["EXISTS", "asgi:group:room"]) == 0
        })
        .await;
        second.send((10 * round + 1)..(10 * round + 9)).await;
    }
}

async fn entries_are_encrypted<K: Kind>() {
    let server = RedisServer::start();
    // Without a key everybody reads it.
    let keys: [&[&str]; 2] = [&["secret"], &[]];
    for (format, keys, prefix) in [
        (Format::Json, keys[0], "one"),
        (Format::MsgPack, keys[0], "two"),
        (Format::Json, keys[1], "three"),
        (Format::MsgPack, keys[1], "four"),
    ] {
        let config = || {
            let config = config(&server.url()).prefix(prefix).serializer(format);
            config.encryption_keys(keys.iter().copied())
        };
        let (first, second) = (Process::start::<K>(config()).await, Process::start::<K>(config()).await);
        let mut reader = first.join("/room/").await;
        first.send([1]).await;
        assert_eq!(reader.text().await, "1");
        let memory = reader.cut();
        first.send([2]).await;
        let mut reader = second.back("/room/", memory).await;
        assert_eq!((reader.outcome(), reader.text().await), ("recovered".to_owned(), "2".to_owned()));
        let entries: Vec<(String, Vec<Vec<u8>>)> =
            server.run(&["XRANGE", &format!("{prefix}:gr:l:room"), "-", "+"]);
        assert_eq!(entries.len(), 2);
        let mut parts = entries.iter().flat_map(|(_, fields)| fields).flat_map(|field| field.windows(6));
        let is_readable = parts.any(|part| part == b"number");
        assert_eq!(is_readable, keys.is_empty(), "{format:?}");
    }
}

async fn a_log_works_with_several_servers<K: Kind>() {
    let servers = [RedisServer::start(), RedisServer::start(), RedisServer::start()];
    let config = || {
        let more = servers[1..].iter().map(|server| RedisConfig::new(server.url()));
        more.fold(config(&servers[0].url()), RedisConfig::and_host)
    };
    let (first, second) = (Process::start::<K>(config()).await, Process::start::<K>(config()).await);
    for name in ["room", "room.1", "room.2", "room.3"] {
        let path = format!("/{name}/");
        let (mut one, mut two) = (first.join(&path).await, second.join(&path).await);
        for number in 1..=3 {
            first.layer.group_send(&group(name), note(number)).await.unwrap();
        }
        assert_eq!((one.texts(3).await, two.texts(3).await), (texts(1..=3), texts(1..=3)));
        let memory = one.cut();
        second.layer.group_send(&group(name), note(4)).await.unwrap();
        let mut one = second.back(&path, memory).await;
        assert_eq!((one.outcome(), one.text().await), ("recovered".to_owned(), "4".to_owned()), "{name}");
    }
}

async fn a_position_may_have_any_offset<K: Kind>() {
    let server = RedisServer::start();
    let first = Process::start::<K>(config(&server.url())).await;
    first.send([1]).await;
    let room = first.layer.history(&group("room")).limit(1).read().await.unwrap();
    for offset in [0, 1, u64::MAX - 1, u64::MAX] {
        for epoch in [1, room.top.epoch().get()] {
            let place: Position = format!("{epoch:016x}.{offset}.000abc").parse().unwrap();
            let after = first.layer.history(&group("room")).after(place).read().await.unwrap();
            assert_eq!((after.events.len(), after.complete), (1, false), "{place}");
            let before = first.layer.history(&group("room")).before(place).read().await.unwrap();
            assert_eq!((before.events.len(), before.complete), (0, false), "{place}");
        }
    }
}

/// The names of a group are looked up when they have changed, and not for each event. Nobody misses an event for it, and
/// nobody gets one after leaving.
#[actix_web::test]
async fn names_are_looked_up_when_they_change() {
    let server = RedisServer::start();
    let (first, second) = two::<Core>(&server).await;
    let look_ups = || {
        let all: String = server.run(&["INFO", "commandstats"]);
        let calls = all.lines().find_map(|line| line.strip_prefix("cmdstat_zrange:calls="));
        calls.and_then(|calls| calls.split(',').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let mut one = first.join("/room/").await;
    first.send([1]).await;
    let before = look_ups();
    first.send(2..=10).await;
    assert_eq!(look_ups(), before);
    assert_eq!(one.texts(10).await, texts(1..=10));

    let mut two = second.join("/room/").await;
    first.send([11]).await;
    assert_eq!((one.text().await, two.text().await), ("11".to_owned(), "11".to_owned()));
    assert_eq!(look_ups(), before + 1);
    first.send([12]).await;
    assert_eq!((one.text().await, two.text().await), ("12".to_owned(), "12".to_owned()));
    assert_eq!(look_ups(), before + 1);

    let mut python = Python::start("core", &json!({"hosts": [server.url()]})).await;
    let name = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), name.clone()]).await;
    first.send([13]).await;
    assert_eq!(python.receive(&name).await, "{'type': 'note', 'number': 13}");
    python.must("group_discard", &[json!("room"), name.clone()]).await;
    first.send([14]).await;
    let queue = format!("asgi{}", name.as_str().unwrap().split_inclusive('!').next().unwrap());
    assert_eq!(server.run::<u64>(&["ZCARD", &queue]), 0);
    assert_eq!((one.texts(2).await, two.texts(2).await), (texts(13..=14), texts(13..=14)));
}
