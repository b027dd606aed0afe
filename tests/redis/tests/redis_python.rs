//! Messages in both directions between real processes of channels_redis and ours, on the same servers.

use greenroom::{
    ChannelName, Layer,
    event::Format,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
    prelude::*,
};
use redis_tests::{Member, Python, RedisServer, eventually, group, note};
use serde_json::{Value, json};

/// Has each type of value of both serializers, and bytes, which only MessagePack has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event("every.value")]
struct EveryValue {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<Bytes>,
    least: i64,
    greatest: u64,
    float: f64,
    list: Vec<Option<i64>>,
    map: std::collections::BTreeMap<String, Vec<bool>>,
    pair: (i64, String),
    nothing: Option<String>,
}

/// Bytes that are serialized as bytes, not as a list.
#[derive(Debug, Clone, PartialEq)]
struct Bytes(Vec<u8>);

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// The event, and its text in Python.
fn every_value(format: Format) -> (EveryValue, String) {
    let packed = format == Format::MsgPack;
    let event = EveryValue {
        text: "héllo \u{1F3AD} \n'".into(),
        bytes: packed.then(|| Bytes(vec![0, 127, 255])),
        least: i64::MIN,
        greatest: u64::MAX,
        float: 0.1,
        list: vec![Some(-1), None, Some(128), Some(65_536)],
        map: [("key".to_owned(), vec![true, false]), (String::new(), Vec::new())].into(),
        pair: (7, "seven".into()),
        nothing: None,
    };
    let bytes = if packed { r"'bytes': b'\x00\x7f\xff', " } else { "" };
    let shown = format!(
        "{{'type': 'every.value', 'text': \"héllo \u{1F3AD} \\n'\", {bytes}'least': -9223372036854775808, 'greatest': 18446744073709551615, 'float': 0.1, 'list': [-1, None, 128, 65536], 'map': {{'': [], 'key': [True, False]}}, 'pair': [7, 'seven'], 'nothing': None}}"
    );
    (event, shown)
}

/// A configuration for both sides.
#[derive(Debug, Clone, Copy)]
struct Shape {
    format: Format,
    keys: &'static [&'static str],
    shards: usize,
}

const SHAPES: [Shape; 4] = [
    Shape { format: Format::MsgPack, keys: &[], shards: 1 },
    Shape { format: Format::Json, keys: &["new-key", "old-key"], shards: 1 },
    Shape { format: Format::MsgPack, keys: &["a-key"], shards: 3 },
    Shape { format: Format::Json, keys: &[], shards: 3 },
];

impl Shape {
    fn servers(self) -> Vec<RedisServer> {
        (0..self.shards).map(|_| RedisServer::start()).collect()
    }

    fn config(self, servers: &[RedisServer]) -> RedisConfig {
        let mut hosts = servers.iter().map(|server| RedisConfig::new(server.url()));
        let first = hosts.next().expect("there is one");
        let config = hosts.fold(first, RedisConfig::and_host);
        config.serializer(self.format).encryption_keys(self.keys.iter().copied())
    }

    fn python(self, servers: &[RedisServer]) -> Value {
        let serializer = if self.format == Format::Json { "json" } else { "msgpack" };
        let hosts: Vec<String> = servers.iter().map(RedisServer::url).collect();
        json!({"hosts": hosts, "serializer_format": serializer, "symmetric_encryption_keys": self.keys})
    }
}

async fn core(config: RedisConfig) -> Layer {
    let layer = RedisLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn channel(name: &Value) -> ChannelName {
    ChannelName::new(name.as_str().expect("a text")).expect("a valid channel name")
}

/// Messages from Python to a group, to a consumer's channel and to a plain channel arrive, with every value unchanged.
#[actix_web::test]
async fn messages_from_python_arrive_with_every_value() {
    for shape in SHAPES {
        let servers = shape.servers();
        let layer = core(shape.config(&servers)).await;
        let mut python = Python::start("core", &shape.python(&servers)).await;
        let (event, shown) = every_value(shape.format);
        let own = layer.new_channel().await.unwrap();
        layer.group_add(&group("room"), &own).await.unwrap();

        python.must("group_send", &[json!("room"), json!(shown)]).await;
        assert_eq!(*layer.receive(&own).await.unwrap().event::<EveryValue>().unwrap(), event, "{shape:?}");
        // channels_redis sends these to any shard, whichever shard the receiver reads.
        for number in 0..10 {
            python
                .must(
                    "send",
                    &[json!(own.as_str()), json!(format!("{{'type': 'note', 'number': {number}}}"))],
                )
                .await;
        }
        let mut numbers = Vec::new();
        for _ in 0..10 {
            numbers.push(layer.receive(&own).await.unwrap().event::<redis_tests::Note>().unwrap().number);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{shape:?}");
        for _ in 0..6 {
            python.must("send", &[json!("jobs"), json!(shown)]).await;
        }
        for _ in 0..6 {
            let job = layer.receive(&ChannelName::new("jobs").unwrap()).await.unwrap();
            assert_eq!(*job.event::<EveryValue>().unwrap(), event, "{shape:?}");
        }

        let mut member = Member::of(&layer, &["room"]).await;
        python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 1}")]).await;
        let name = json!(member.channel().as_str());
        python.must("send", &[name.clone(), json!("{'type': 'note', 'number': 2}")]).await;
        let mut heard = [member.hears().await, member.hears().await];
        heard.sort_unstable();
        assert_eq!(heard, ["1", "2"], "{shape:?}");
        // The other side puts this consumer into a group by its channel's name.
        python.must("group_add", &[json!("hall"), name.clone()]).await;
        python.must("group_send", &[json!("hall"), json!("{'type': 'note', 'number': 3}")]).await;
        assert_eq!(member.hears().await, "3");
        layer.group_send(&group("hall"), note(4)).await.unwrap();
        assert_eq!(member.hears().await, "4");
        member.leave().await;
        let metrics = layer.metrics();
        assert_eq!((metrics.undecodable, metrics.stray, metrics.expired), (0, 0, 0), "{shape:?}");
    }
}

/// Messages from us to a group, to a channel of a Python process and to a plain channel arrive in Python.
#[actix_web::test]
async fn messages_to_python_arrive_with_every_value() {
    for shape in SHAPES {
        let servers = shape.servers();
        let layer = core(shape.config(&servers)).await;
        let mut python = Python::start("core", &shape.python(&servers)).await;
        let (event, shown) = every_value(shape.format);
        let (one, two) = (python.must("new_channel", &[]).await, python.must("new_channel", &[]).await);
        for name in [&one, &two] {
            python.must("group_add", &[json!("room"), name.clone()]).await;
        }
        layer.group_send(&group("room"), &event).await.unwrap();
        for name in [&one, &two] {
            assert_eq!(python.receive(name).await, shown, "{shape:?}");
        }
        let counted = layer.group_send_counted(&group("room"), &event).await.unwrap();
        assert_eq!((counted.delivered, counted.dropped), (1, 0), "one message for both");
        for name in [&one, &two] {
            assert_eq!(python.receive(name).await, shown);
        }
        layer.send(&channel(&one), &event).await.unwrap();
        assert_eq!(python.receive(&one).await, shown);
        let jobs = ChannelName::new("jobs").unwrap();
        for _ in 0..3 {
            // We write to the servers in turns from the first one, as the other side reads them.
            layer.send(&jobs, &event).await.unwrap();
        }
        for _ in 0..3 {
            assert_eq!(python.receive(&json!("jobs")).await, shown, "{shape:?}");
        }
        python.must("group_discard", &[json!("room"), one.clone()]).await;
        python.must("group_discard", &[json!("room"), two.clone()]).await;
        assert_eq!(layer.group_send_counted(&group("room"), &event).await.unwrap().delivered, 0);
    }
}

/// Consumers of Python are left out by name. The event that the others get has not one key more, whoever is left out.
#[actix_web::test]
async fn a_channel_of_python_is_left_out_and_no_other_sees_that() {
    for shape in SHAPES {
        let servers = shape.servers();
        let (layer, beside) = (core(shape.config(&servers)).await, core(shape.config(&servers)).await);
        let mut python = Python::start("core", &shape.python(&servers)).await;
        let (event, shown) = every_value(shape.format);
        let (one, two) = (python.must("new_channel", &[]).await, python.must("new_channel", &[]).await);
        for name in [&one, &two] {
            python.must("group_add", &[json!("room"), name.clone()]).await;
        }
        let (mine, ours) = (layer.new_channel().await.unwrap(), beside.new_channel().await.unwrap());
        layer.group_add(&group("room"), &mine).await.unwrap();
        beside.group_add(&group("room"), &ours).await.unwrap();
        let room = group("room");

        layer.group_send_except(&room, channel(&one), &event).await.unwrap();
        layer.group_send_except(&room, [channel(&two), mine.clone(), ours.clone()], &event).await.unwrap();
        let counted = layer.group_send_except_counted(&room, [channel(&one), channel(&two)], note(1)).await;
        assert_eq!(counted.unwrap().delivered, 2, "{shape:?}: this process and the other");
        layer.group_send(&room, note(2)).await.unwrap();
        for name in [&one, &two] {
            assert_eq!(python.receive(name).await, shown, "{shape:?}");
            assert_eq!(python.receive(name).await, "{'type': 'note', 'number': 2}", "{shape:?}");
        }
        for (layer, queue) in [(&layer, &mine), (&beside, &ours)] {
            assert_eq!(*layer.receive(queue).await.unwrap().event::<EveryValue>().unwrap(), event);
            for number in [1, 2] {
                let heard = layer.receive(queue).await.unwrap();
                assert_eq!(*heard.event::<redis_tests::Note>().unwrap(), note(number), "{shape:?}");
            }
        }
        let lost = beside.metrics();
        assert_eq!((lost.undecodable, lost.stray), (0, 0), "{shape:?}");
    }
}

async fn pubsub(config: RedisConfig) -> Layer {
    let layer = RedisPubSubLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

/// Python's publications to a group, to a consumer's channel and to a plain channel arrive, with every value unchanged.
#[actix_web::test]
async fn events_published_by_python_arrive_with_every_value() {
    for shape in SHAPES {
        let servers = shape.servers();
        let layer = pubsub(shape.config(&servers)).await;
        let mut python = Python::start("pubsub", &shape.python(&servers)).await;
        let (event, shown) = every_value(shape.format);
        let (own, jobs) = (layer.new_channel().await.unwrap(), ChannelName::new("jobs").unwrap());
        for channel in [&own, &jobs] {
            layer.group_add(&group("room"), channel).await.unwrap();
        }
        python.must("group_send", &[json!("room"), json!(shown)]).await;
        for name in [own.as_str(), "jobs"] {
            python.must("send", &[json!(name), json!(shown)]).await;
        }
        for channel in [&own, &own, &jobs, &jobs] {
            assert_eq!(
                *layer.receive(channel).await.unwrap().event::<EveryValue>().unwrap(),
                event,
                "{shape:?}"
            );
        }
        let mut member = Member::of(&layer, &["room"]).await;
        python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 1}")]).await;
        assert_eq!(member.hears().await, "1");
        python
            .must("send", &[json!(member.channel().as_str()), json!("{'type': 'note', 'number': 2}")])
            .await;
        assert_eq!(member.hears().await, "2");
        member.leave().await;
        assert_eq!((layer.metrics().undecodable, layer.metrics().stray), (0, 0), "{shape:?}");
    }
}

/// Our publications to a group and to a channel of a Python process arrive in Python.
#[actix_web::test]
async fn events_published_to_python_arrive_with_every_value() {
    for shape in SHAPES {
        let servers = shape.servers();
        let layer = pubsub(shape.config(&servers)).await;
        let mut python = Python::start("pubsub", &shape.python(&servers)).await;
        let (event, shown) = every_value(shape.format);
        let name = python.must("new_channel", &[]).await;
        python.must("group_add", &[json!("room"), name.clone()]).await;
        let counted = layer.group_send_counted(&group("room"), &event).await.unwrap();
        assert_eq!((counted.delivered, counted.dropped), (1, 0), "{shape:?}");
        assert_eq!(python.receive(&name).await, shown, "{shape:?}");
        layer.send(&channel(&name), &event).await.unwrap();
        assert_eq!(python.receive(&name).await, shown);
        python.must("group_discard", &[json!("room"), name.clone()]).await;
        // Python does not wait until Redis has read that it listens no more.
        let listens =
            |server: &RedisServer| server.run::<Vec<String>>(&["PUBSUB", "CHANNELS", "*group*room"]).len();
        eventually("Redis knows", || servers.iter().all(|server| listens(server) == 0)).await;
        assert_eq!(layer.group_send_counted(&group("room"), &event).await.unwrap().delivered, 0);
        // Nobody listens to this channel, and with pub/sub the sender learns so.
        let nobody = layer.send(&ChannelName::new("nobody").unwrap(), &event).await;
        assert_eq!(nobody, Err(greenroom::LayerError::NoReceiver));
        assert!(servers.iter().all(|server| server.run::<u64>(&["DBSIZE"]) == 0), "Redis stores nothing");
    }
}

/// Pub/sub tells every process which channels to leave out. Python gets the event without that, with all its keys in order.
#[actix_web::test]
async fn python_gets_an_event_that_leaves_others_out_as_any_other() {
    for shape in SHAPES {
        let servers = shape.servers();
        let (layer, beside) = (pubsub(shape.config(&servers)).await, pubsub(shape.config(&servers)).await);
        let mut python = Python::start("pubsub", &shape.python(&servers)).await;
        let (event, shown) = every_value(shape.format);
        let (room, name) = (group("room"), python.must("new_channel", &[]).await);
        python.must("group_add", &[json!("room"), name.clone()]).await;
        let (mut mine, mut ours) =
            (Member::of(&layer, &["room"]).await, Member::of(&beside, &["room"]).await);

        layer.group_send_except(&room, [mine.channel(), ours.channel()], &event).await.unwrap();
        layer.group_send_except(&room, mine.channel(), note(1)).await.unwrap();
        let counted = layer.group_send_except_counted(&room, ours.channel(), note(2)).await.unwrap();
        assert_eq!((counted.delivered, counted.dropped), (3, 0), "{shape:?}: one member, and two processes");
        // A channel of Python is not left out, because Python does not look.
        layer.group_send_except(&room, channel(&name), note(3)).await.unwrap();
        assert_eq!(python.receive(&name).await, shown, "{shape:?}");
        for number in 1..=3 {
            let expected = format!("{{'type': 'note', 'number': {number}}}");
            assert_eq!(python.receive(&name).await, expected, "{shape:?}");
        }
        assert_eq!((mine.hears().await, mine.hears().await), ("2".to_owned(), "3".to_owned()));
        assert_eq!((ours.hears().await, ours.hears().await), ("1".to_owned(), "3".to_owned()));
        let lost = beside.metrics();
        assert_eq!((lost.undecodable, lost.unhandled), (0, 0), "{shape:?}");
    }
}

/// A consumer lives on if its process hears nothing for more than 5 s. (With redis-py 8 a consumer of channels_redis ends.)
#[actix_web::test]
async fn a_consumer_that_hears_nothing_stays_connected() {
    let servers = [RedisServer::start()];
    let layer = core(RedisConfig::new(servers[0].url())).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let mut python = Python::start("core", &SHAPES[0].python(&servers)).await;
    let theirs = python.must("new_channel", &[]).await;
    let idle = python.call("receive", &[theirs, json!(30)]).await.unwrap_err();
    assert!(
        idle.starts_with("TimeoutError: Timeout reading"),
        "redis-py gives up after 5 s, although 30 were asked for: {idle}"
    );
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 1}")]).await;
    assert_eq!(member.hears().await, "1");
    assert_eq!(layer.metrics().reconnected, 0);
}

/// Python's `json` writes words for numbers that are not finite, and half of a surrogate pair. It reads them too.
#[actix_web::test]
async fn one_odd_value_does_not_lose_a_message_in_json() {
    for kind in ["core", "pubsub"] {
        let server = RedisServer::start();
        let config = RedisConfig::new(server.url()).serializer(Format::Json);
        let layer: Layer = if kind == "core" {
            core(config).await
        } else {
            let layer = RedisPubSubLayer::new(config).unwrap();
            layer.ready().await.unwrap();
            layer.into()
        };
        let mut member = Member::of(&layer, &["room"]).await;
        let mut python =
            Python::start(kind, &json!({"hosts": [server.url()], "serializer_format": "json"})).await;
        let odd = r"{'type': 'note', 'number': 1, 'more': [1e999, -1e999, '\ud83d']}";
        python.must("group_send", &[json!("room"), json!(odd)]).await;
        assert_eq!(member.hears().await, "1");
        python.must("send", &[json!(member.channel().as_str()), json!(odd)]).await;
        assert_eq!(member.hears().await, "1");
        assert_eq!(layer.metrics().undecodable, 0);
    }
}

/// Messages under another encryption key or of another serializer are counted, and end no consumer.
#[actix_web::test]
async fn unreadable_messages_are_counted_and_end_no_consumer() {
    let servers = [RedisServer::start()];
    let layer = core(RedisConfig::new(servers[0].url()).encryption_keys(["ours"])).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let others = [
        json!({"hosts": [servers[0].url()], "symmetric_encryption_keys": ["theirs"]}),
        json!({"hosts": [servers[0].url()]}),
        json!({"hosts": [servers[0].url()], "serializer_format": "json", "symmetric_encryption_keys": ["ours"]}),
    ];
    for (before, config) in others.iter().enumerate() {
        let mut python = Python::start("core", config).await;
        python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 1}")]).await;
        eventually("it is counted", || layer.metrics().undecodable == before as u64 + 1).await;
    }
    let right = json!({"hosts": [servers[0].url()], "symmetric_encryption_keys": ["ours"]});
    let mut python = Python::start("core", &right).await;
    python.must("group_send", &[json!("room"), json!("{1: 2}")]).await;
    eventually("it is counted", || layer.metrics().undecodable == 4).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 2}")]).await;
    assert_eq!(member.hears().await, "2");
    // Such a message ends a consumer of channels_redis.
    let theirs = python.must("new_channel", &[]).await;
    let key = format!("asgi{}!", theirs.as_str().unwrap().split_once('!').unwrap().0);
    servers[0].run::<u64>(&["ZADD", &key, "9999999999", "0123456789ab and no token"]);
    let upstream = python.call("receive", &[theirs, json!(4)]).await.unwrap_err();
    assert!(upstream.contains("InvalidToken"), "{upstream}");
}

/// With three servers, our direct sends go to the server that the receiver reads. channels_redis sends some to another.
#[actix_web::test]
async fn direct_sends_with_several_servers_arrive() {
    let servers = SHAPES[2].servers();
    let layer = core(SHAPES[2].config(&servers)).await;
    let mut python = Python::start("core", &SHAPES[2].python(&servers)).await;
    let mut lost = 0;
    // For two of three names channels_redis picks the wrong server.
    for _ in 0..30 {
        let theirs = python.must("new_channel", &[]).await;
        python.must("send", &[theirs.clone(), json!("{'type': 'theirs'}")]).await;
        layer.send(&channel(&theirs), note(1)).await.unwrap();
        let first = python.receive(&theirs).await;
        if first == "{'type': 'theirs'}" {
            assert_eq!(python.receive(&theirs).await, "{'type': 'note', 'number': 1}");
        } else {
            assert_eq!(first, "{'type': 'note', 'number': 1}", "ours arrives");
            lost += 1;
            if lost == 2 {
                return;
            }
        }
    }
    panic!("channels_redis lost {lost} of 30");
}

/// Each job on a plain channel runs once, although several processes read it. None is left over.
#[actix_web::test]
async fn jobs_run_once() {
    const JOBS: u64 = 300;
    let servers = [RedisServer::start()];
    let mut python = Python::start("core", &json!({"hosts": [servers[0].url()], "capacity": 1000})).await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let layer = core(RedisConfig::new(servers[0].url())).await;
        readers.push(actix_web::rt::spawn(async move {
            let mut read = Vec::new();
            loop {
                let job = layer.receive(&ChannelName::new("jobs").unwrap()).await.unwrap();
                match job.event::<redis_tests::Note>().unwrap().number {
                    u64::MAX => return read,
                    number => read.push(number),
                }
            }
        }));
    }
    for number in 0..JOBS {
        python.must("send", &[json!("jobs"), json!(format!("{{'type': 'note', 'number': {number}}}"))]).await;
    }
    for _ in 0..3 {
        python
            .must("send", &[json!("jobs"), json!(format!("{{'type': 'note', 'number': {}}}", u64::MAX))])
            .await;
    }
    let mut all = Vec::new();
    for reader in readers {
        all.extend(
            tokio::time::timeout(integration_tests::PATIENCE, reader).await.expect("it ends").unwrap(),
        );
    }
    all.sort_unstable();
    assert_eq!(all, (0..JOBS).collect::<Vec<_>>());
    assert_eq!(servers[0].run::<u64>(&["DBSIZE"]), 0, "no key is left in Redis");
}
