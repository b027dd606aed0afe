//! Django beside us: it sees nothing of the logs, and its own events are told from ours.

use std::collections::BTreeMap;

use redis_tests::{Python, eventually};
use serde_json::json;

use super::*;

both! {
    /// A process of Python gets the same bytes, keys and types with and without a log.
    python_sees_no_difference,
    /// An event of Python is delivered, and is in no log. Who was away is told so, and who has had it is not.
    an_event_of_python_is_in_no_log,
    /// Python's layer with our few lines appends, and who was away gets that too.
    a_helper_of_python_appends,
    /// It does not append what it is told not to, and that is not an event of no log either. It is copied to where it runs.
    a_helper_of_python_keeps_no_transient_event,
}

const fn kind<K: Kind>() -> &'static str {
    if K::IS_PUBSUB { "pubsub" } else { "core" }
}

/// What Python has got of three events, the keys that it can see with their types, and the messages as they travel.
async fn seen_by_python<K: Kind>(history: bool) -> (Vec<String>, BTreeMap<String, String>, Vec<Vec<u8>>) {
    let server = RedisServer::start();
    let plain = RedisConfig::new(server.url()).timeout(Duration::from_secs(1)).random_prefix_length(0);
    let config = if history { plain.history("room*", History::last(10)) } else { plain };
    let sender = Process::start::<K>(config).await;
    let mut shape = json!({"hosts": [server.url()], "random_prefix_length": 0});
    if K::IS_PUBSUB {
        shape = json!({"hosts": [server.url()]});
    }
    let mut python = Python::start(kind::<K>(), &shape).await;
    let name = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), name.clone()]).await;
    let mut topics = server.connect();
    let mut topics = topics.as_pubsub();
    topics.subscribe("asgi__group__room").unwrap();
    let room = group("room");
    let me = sender.layer.new_channel().await.unwrap();
    sender.layer.group_send(&room, note(1)).await.unwrap();
    sender.layer.group_send_except(&room, &me, note(2)).await.unwrap();
    sender.layer.group_send(&room, Hint { number: 3 }).await.unwrap();
    // Names differ from run to run.
    let without = |message: Vec<u8>, name: &str| match message
        .windows(name.len())
        .position(|part| part == name.as_bytes())
    {
        Some(at) => [&message[..at], b"NAME", &message[at + name.len()..]].concat(),
        None => message,
    };
    let messages = if K::IS_PUBSUB {
        let next = |_| without(topics.get_message().unwrap().get_payload_bytes().to_vec(), me.as_str());
        (0..3).map(next).collect()
    } else {
        let queue = format!("asgi{}", name.as_str().unwrap().split_inclusive('!').next().unwrap());
        eventually("all are there", || server.run::<u64>(&["ZCARD", &queue]) == 3).await;
        let members: Vec<Vec<u8>> = server.run(&["ZRANGE", &queue, "0", "-1"]);
        members.into_iter().map(|member| without(member, name.as_str().unwrap())).collect()
    };
    let mut types = BTreeMap::new();
    for key in
        server.run::<Vec<String>>(&["KEYS", "*"]).into_iter().filter(|key| !key.starts_with("asgi:gr:"))
    {
        let stable = if key.contains("specific.") { "asgispecific".to_owned() } else { key.clone() };
        types.insert(stable, server.run(&["TYPE", &key]));
    }
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(python.receive(&name).await);
    }
    (got, types, messages)
}

async fn python_sees_no_difference<K: Kind>() {
    let (with, without) = (seen_by_python::<K>(true).await, seen_by_python::<K>(false).await);
    assert_eq!(with, without);
    assert_eq!(with.0[0], "{'type': 'note', 'number': 1}");
}

async fn an_event_of_python_is_in_no_log<K: Kind>() {
    let server = RedisServer::start();
    let (first, second) = two::<K>(&server).await;
    let mut python = Python::start(kind::<K>(), &json!({"hosts": [server.url()]})).await;
    let (mut away, mut here, mut there) =
        (first.join("/room/").await, first.join("/room/").await, second.join("/room/").await);
    first.send([1]).await;
    for reader in [&mut away, &mut here, &mut there] {
        assert_eq!(reader.text().await, "1");
    }
    let memory = away.cut();
    for number in [2, 3] {
        let event = json!(format!("{{'type': 'note', 'number': {number}}}"));
        python.must("group_send", &[json!("room"), event]).await;
    }
    for reader in [&mut here, &mut there] {
        assert_eq!(reader.texts(2).await, texts([2, 3]));
    }
    assert_eq!(server.run::<u64>(&["XLEN", ENTRIES]), 1);
    eventually("the marks are written", || {
        let known: f64 = server.run::<Option<f64>>(&["HGET", STATE, "w"]).unwrap_or_default();
        here.memory.logs.values().all(|log| log.foreign > 0.0 && log.foreign <= known)
    })
    .await;
    let (here, there) = (here.cut(), there.cut());
    for process in [&first, &second] {
        assert_eq!(process.back("/room/", memory.clone()).await.outcome(), "foreign");
        for memory in [&here, &there] {
            let back = process.back("/room/", memory.clone()).await;
            assert_eq!(back.outcome(), "recovered", "it has had both");
        }
    }
}

async fn a_helper_of_python_appends<K: Kind>() {
    // The log is on one of them, and the queue of each process on any.
    let servers = [RedisServer::start(), RedisServer::start()];
    let config = || config(&servers[0].url()).and_host(RedisConfig::new(servers[1].url()));
    let (first, second) = (Process::start::<K>(config()).await, Process::start::<K>(config()).await);
    let hosts = servers.each_ref().map(RedisServer::url);
    let shape = json!({"hosts": hosts, "history": [["room*", 10, 60]]});
    let mut python = Python::start(&format!("history-{}", kind::<K>()), &shape).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), theirs.clone()]).await;
    let (mut away, mut here) = (first.join("/room/").await, second.join("/room/").await);
    let event = |number: u64| json!(format!("{{'type': 'note', 'number': {number}}}"));
    python.must("group_send", &[json!("room"), event(1)]).await;
    first.send([2]).await;
    for reader in [&mut away, &mut here] {
        assert_eq!(reader.texts(2).await, texts(1..=2));
    }
    let memory = away.cut();
    for number in 3..=5 {
        python.must("group_send", &[json!("room"), event(number)]).await;
    }
    assert_eq!(here.texts(3).await, texts(3..=5));
    for process in [&first, &second] {
        let mut back = process.back("/room/", memory.clone()).await;
        assert_eq!((back.outcome(), back.texts(3).await), ("recovered".to_owned(), texts(3..=5)));
    }
    for number in [1, 2, 3, 4, 5] {
        assert_eq!(python.receive(&theirs).await, format!("{{'type': 'note', 'number': {number}}}"));
    }
}

async fn a_helper_of_python_keeps_no_transient_event<K: Kind>() {
    let server = RedisServer::start();
    let (first, second) = two::<K>(&server).await;
    let folder = std::env::temp_dir().join(format!("greenroom-django-{}-{}", kind::<K>(), server.port()));
    std::fs::create_dir_all(&folder).unwrap();
    let shape = json!({"hosts": [server.url()], "history": [["room*", 10, 60]], "transient": ["hint"]});
    let mut python = Python::deployed(&folder, &format!("history-{}", kind::<K>()), &shape).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), theirs.clone()]).await;
    let (mut away, mut here) = (first.join("/room/").await, second.join("/room/").await);
    let note = json!("{'type': 'note', 'number': 1}");
    python.must("group_send", &[json!("room"), note.clone()]).await;
    assert_eq!((away.text().await, here.text().await), ("1".to_owned(), "1".to_owned()));
    let memory = away.cut();
    let hint = json!("{'type': 'hint', 'number': 2}");
    python.must("group_send", &[json!("room"), hint.clone()]).await;
    assert_eq!(here.text().await, "hint 2", "who is there gets it");
    for event in [note, hint] {
        assert_eq!(json!(python.receive(&theirs).await), event);
    }
    first.send([3]).await;
    assert_eq!(here.text().await, "3");
    for process in [&first, &second] {
        let mut back = process.back("/room/", memory.clone()).await;
        assert_eq!((back.outcome(), back.text().await), ("recovered".to_owned(), "3".to_owned()));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
