//! Servers that end, freeze, forget, refuse, or are cut off: no connection ends, and everyone is told.

use std::time::{Duration, Instant};

use greenroom::{
    ChannelName, Layer, LayerConfig, LayerError,
    event::Format,
    layers::{
        Away,
        redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
    },
};
use redis_tests::{Member, Proxy, Python, RedisServer, eventually, group, note};
use serde_json::json;

const ROOM_KEY: &str = "asgi:group:room";

async fn ready(config: RedisConfig) -> Layer {
    let layer = RedisLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).timeout(Duration::from_secs(1))
}

async fn members(layer: &Layer, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::of(layer, &["room"]).await);
    }
    members
}

async fn all_hear(members: &mut [Member], expected: &str) {
    for member in members {
        assert_eq!(member.hears().await, expected);
    }
}

/// However many members a group has here, it has one name in Redis; the last one takes it out, and the layer's end does.
#[actix_web::test]
async fn a_process_has_one_name_in_a_group() {
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let many = members(&layer, 100).await;
    let names: Vec<String> = server.run(&["ZRANGE", ROOM_KEY, "0", "-1"]);
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(ChannelName::new(&names[0]).is_ok(), "a name that Django takes: {}", names[0]);
    let ttl: u64 = server.run(&["TTL", ROOM_KEY]);
    assert!((86_390..=86_400).contains(&ttl), "{ttl}");
    for member in many {
        member.leave().await;
    }
    eventually("the name is out", || server.run::<u64>(&["EXISTS", ROOM_KEY]) == 0).await;

    let _again = members(&layer, 1).await;
    assert_eq!(server.run::<u64>(&["ZCARD", ROOM_KEY]), 1);
    let other = RedisLayer::new(config(&server)).unwrap();
    other.ready().await.unwrap();
    let own = greenroom::ChannelLayer::new_channel(&other, "specific.").await.unwrap();
    greenroom::ChannelLayer::group_add(&other, &group("room"), &own).await.unwrap();
    assert_eq!(server.run::<u64>(&["ZCARD", ROOM_KEY]), 2);
    drop(other);
    assert_eq!(server.run::<u64>(&["ZCARD", ROOM_KEY]), 1, "the end of a layer takes it out of its groups");
}

/// Redis is killed, is away for 2 s and comes back empty: nobody's connection ends, all are members again and are told.
#[actix_web::test]
async fn a_restart_closes_no_connection() {
    let mut server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut members = members(&layer, 20).await;
    // One of channels_redis ends at once.
    let mut upstream = Python::start("core", &json!({"hosts": [server.url()]})).await;
    let theirs = upstream.must("new_channel", &[]).await;
    upstream.begin("receive", &[theirs, json!(30)]).await;
    eventually("it waits", || {
        let clients: String = server.run(&["CLIENT", "LIST"]);
        clients.lines().filter(|client| client.contains("flags=b")).count() == 2
    })
    .await;
    server.kill();
    let error = upstream.answer().await.unwrap_err();
    assert!(error.contains("Connection"), "{error}");
    eventually("it is noticed", || layer.metrics().reconnected == 0 && is_away(&layer)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    all_hear(&mut members, "1").await;
    assert_eq!(layer.metrics().unpublished, 1);
    server.restart();
    all_hear(&mut members, "gap in room").await;
    assert_eq!(server.run::<u64>(&["ZCARD", ROOM_KEY]), 1);
    let mut python = Python::start("core", &json!({"hosts": [server.url()]})).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 2}")]).await;
    all_hear(&mut members, "2").await;
    assert_eq!(layer.metrics().reconnected, 1);
    assert_eq!(layer.metrics().unhandled, 0);
}

fn is_away(layer: &Layer) -> bool {
    futures_util::FutureExt::now_or_never(layer.send(&ChannelName::new("jobs").unwrap(), &note(0)))
        .is_some_and(|sent| matches!(sent, Err(LayerError::Unavailable(_))))
}

/// With `Away::Error` a send says at once that Redis is away, and nobody gets the event; while it is there, it says what Redis does.
#[actix_web::test]
async fn away_may_be_an_error() {
    let mut server = RedisServer::start();
    let layer = ready(config(&server).away(Away::Error)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    server.kill();
    eventually("it is noticed", || is_away(&layer)).await;
    let error = layer.group_send(&group("room"), &note(2)).await.unwrap_err();
    let LayerError::Unavailable(reason) = &error else { panic!("{error:?}") };
    assert!(reason.contains(&server.port().to_string()), "it says where: {reason}");
    server.restart();
    assert_eq!(member.hears().await, "gap in room", "and not 2");
    layer.group_send(&group("room"), &note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
}

/// A server that freezes holds nobody up here; when it goes on, so does everything.
#[actix_web::test]
async fn a_frozen_server_holds_nobody_up() {
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    server.pause();
    let begun = Instant::now();
    for number in 0..1_000 {
        layer.group_send(&group("room"), &note(number)).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "nothing waited for the server");
    // Who asks Redis for something gets an answer in its time.
    let sent = layer.send(&ChannelName::new("jobs").unwrap(), &note(0)).await;
    assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    // Someone who joins now is not kept waiting for long, and hears this process.
    let mut late = Member::of(&layer, &["hall"]).await;
    layer.group_send(&group("hall"), &note(1)).await.unwrap();
    assert_eq!(late.hears().await, "1");
    server.resume();
    assert_eq!(member.hears().await, "gap in room");
    assert_eq!(late.hears().await, "gap in hall");
    let other = ready(config(&server)).await;
    for name in ["room", "hall"] {
        other.group_send(&group(name), &note(7)).await.unwrap();
    }
    assert_eq!((member.hears().await, late.hears().await), ("7".to_owned(), "7".to_owned()));
}

/// The connections are cut, and cut in the middle of a message: what waits in Redis comes after, and nobody ends.
#[actix_web::test]
async fn a_cut_connection_comes_back() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let layer = ready(RedisConfig::new(proxy.url()).timeout(Duration::from_secs(1))).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let mut python = Python::start("core", &json!({"hosts": [server.url()]})).await;
    // Far longer than what is let through: the reply breaks off inside it.
    let long = format!("{{'type': 'note', 'number': 1, 'more': '{}'}}", "x".repeat(20_000));
    proxy.cut_after(10_000);
    python.must("group_send", &[json!("room"), json!(long)]).await;
    eventually("it is cut", || proxy.has_cut()).await;
    for number in 2..5 {
        let message = format!("{{'type': 'note', 'number': {number}}}");
        python.must("group_send", &[json!("room"), json!(message)]).await;
    }
    proxy.mend();
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(member.hears().await);
    }
    heard.sort_unstable();
    assert_eq!(heard, ["2", "3", "4", "gap in room"], "what was under way is gone, and is told");

    let ours = server.run::<String>(&["CLIENT", "LIST", "TYPE", "normal"]);
    assert!(ours.lines().count() <= 8, "two connections a shard, and Python's:\n{ours}");
    let killed: u64 = server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(killed >= 2, "{killed}");
    assert_eq!(member.hears().await, "gap in room");
    // Python's connection was one of them.
    while python.call("group_send", &[json!("room"), json!("{'type': 'note', 'number': 5}")]).await.is_err() {
    }
    assert_eq!(member.hears().await, "5");
}

/// A group that has lost its last member while Redis was away: other processes do not go on writing to it for a day.
#[actix_web::test]
async fn a_group_that_was_left_during_an_outage_has_no_name() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let layer = ready(RedisConfig::new(proxy.url())).await;
    let leaves = Member::of(&layer, &["room"]).await;
    let mut stays = Member::of(&layer, &["hall"]).await;
    assert_eq!(server.run::<u64>(&["ZCARD", ROOM_KEY]), 1);
    proxy.cut_after(0);
    server.run::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("it is noticed", || is_away(&layer)).await;
    leaves.leave().await;
    proxy.mend();
    assert_eq!(stays.hears().await, "gap in hall");
    eventually("its name is out", || server.run::<u64>(&["EXISTS", ROOM_KEY]) == 0).await;
}

/// Members that come and go, 1,000 of them, lose nothing for those who stay.
#[actix_web::test]
async fn who_comes_and_goes_loses_nothing_for_others() {
    const COUNT: u64 = 300;
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut steady = members(&layer, 5).await;
    let mut python = Python::start("core", &json!({"hosts": [server.url()]})).await;
    let churn = async {
        for _ in 0..1_000 {
            Member::of(&layer, &["room"]).await.leave().await;
            Member::of(&layer, &["hall"]).await.leave().await;
        }
    };
    let send = async {
        for number in 0..COUNT {
            let message = format!("{{'type': 'note', 'number': {number}}}");
            python.must("group_send", &[json!("room"), json!(message)]).await;
        }
    };
    tokio::join!(churn, send);
    for member in &mut steady {
        for number in 0..COUNT {
            assert_eq!(member.hears().await, number.to_string());
        }
    }
    assert_eq!(layer.metrics().undecodable, 0);
}

/// A burst of far more messages than Django lets wait arrives whole: the queue is drained as fast as it fills.
#[actix_web::test]
async fn the_queue_is_drained() {
    const COUNT: u64 = 2_000;
    let server = RedisServer::start();
    let layer = ready(config(&server).layer(LayerConfig::new().capacity(COUNT as usize))).await;
    let own = layer.new_channel().await.unwrap();
    layer.group_add(&group("room"), &own).await.unwrap();
    let other = ready(config(&server)).await;
    let receive = async {
        for number in 0..COUNT {
            let event = layer.receive(&own).await.unwrap();
            assert_eq!(event.event::<redis_tests::Note>().unwrap().number, number);
        }
    };
    let send = async {
        for number in 0..COUNT {
            other.group_send(&group("room"), &note(number)).await.unwrap();
            if number % 50 == 0 {
                // As fast as Redis answers, but no faster.
                other.group_send_counted(&group("nobody"), &note(0)).await.unwrap();
            }
        }
    };
    tokio::join!(receive, send);
}

/// Memberships are written anew before they expire, and where another program deleted them.
#[actix_web::test]
async fn memberships_are_renewed() {
    let server = RedisServer::start();
    let short = LayerConfig::new().group_expiry(Duration::from_secs(3));
    let layer = ready(config(&server).layer(short)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let expiry = json!({"hosts": [server.url()], "group_expiry": 3});
    let mut python = Python::start("core", &expiry).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), theirs.clone()]).await;
    python.must("idle", &[json!(4)]).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 1}")]).await;
    assert_eq!(member.hears().await, "1", "older than its group lets anyone be");
    let upstream = python.call("receive", &[theirs, json!(1)]).await;
    assert_eq!(upstream, Err("TimeoutError: ".into()), "a member of channels_redis is one no more");
    python.must("flush", &[]).await;
    eventually("it is there again", || server.run::<u64>(&["EXISTS", ROOM_KEY]) == 1).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 2}")]).await;
    assert_eq!(member.hears().await, "2");
}

/// A message that was sent too long ago is not delivered; channels_redis would.
#[actix_web::test]
async fn an_expired_message_is_not_delivered() {
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let key = format!("asgi{}", member.channel().non_local());
    let mut message = b"0123456789ab".to_vec();
    message.extend(b"\x83\xa4type\xa4note\xa6number\x01\xb0__asgi_channel__\xd9");
    message.push(u8::try_from(member.channel().len()).unwrap());
    message.extend(member.channel().as_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let mut connection = server.connect();
    for (score, prefix) in [(now - 61.0, b'0'), (now - 30.0, b'1')] {
        message[0] = prefix;
        message[12 + 1 + 5 + 5 + 7] = prefix - b'0' + 1;
        redis::cmd("ZADD").arg(&key).arg(score).arg(&message[..]).exec(&mut connection).unwrap();
    }
    assert_eq!(member.hears().await, "2");
    assert_eq!(layer.metrics().expired, 1);

    let jobs = ChannelName::new("jobs").unwrap();
    for (score, number) in [(now - 61.0, 1_u8), (now - 59.0, 2)] {
        let mut job = vec![b'0' + number; 12];
        job.extend(b"\x82\xa4type\xa4note\xa6number");
        job.push(number);
        redis::cmd("ZADD").arg("asgijobs").arg(score).arg(&job[..]).exec(&mut connection).unwrap();
    }
    assert_eq!(layer.receive(&jobs).await.unwrap().event::<redis_tests::Note>().unwrap().number, 2);
    assert_eq!(layer.metrics().expired, 2);

    // channels_redis gives it to its consumer.
    let mut upstream = Python::start("core", &json!({"hosts": [server.url()]})).await;
    let theirs = upstream.must("new_channel", &[]).await;
    let name = theirs.as_str().unwrap();
    let mut old = b"0123456789ab".to_vec();
    old.extend(b"\x82\xa4type\xa4note\xb0__asgi_channel__\xd9");
    old.push(u8::try_from(name.len()).unwrap());
    old.extend(name.as_bytes());
    let key = format!("asgi{}!", name.split_once('!').unwrap().0);
    redis::cmd("ZADD").arg(key).arg(now - 61.0).arg(&old[..]).exec(&mut connection).unwrap();
    assert_eq!(upstream.receive(&theirs).await, "{'type': 'note'}");
}

/// A server without memory refuses: who asked is told, members here are served, and the connection stays.
#[actix_web::test]
async fn a_full_server_refuses() {
    let server = RedisServer::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let layer = ready(config(&server)).await;
    let strict = ready(config(&server).away(Away::Error)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let _other = Member::of(&strict, &["room"]).await;
    let mut connection = server.connect();
    for size in [100_000, 10_000, 1_000, 100, 10] {
        for key in 0.. {
            let value = vec![0_u8; size];
            if redis::cmd("SET").arg(format!("{size}:{key}")).arg(value).exec(&mut connection).is_err() {
                break;
            }
        }
    }
    let sent = layer.send(&ChannelName::new("jobs").unwrap(), &note(1)).await;
    assert!(matches!(&sent, Err(LayerError::Refused(why)) if why.contains("OOM")), "{sent:?}");
    layer.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2");
    let sent = strict.group_send(&group("room"), &note(3)).await;
    assert!(matches!(&sent, Err(LayerError::Refused(why)) if why.contains("OOM")), "{sent:?}");
    // Someone who joins is a member here all the same, and is not kept waiting.
    let mut late = Member::of(&layer, &["hall"]).await;
    layer.group_send(&group("hall"), &note(4)).await.unwrap();
    assert_eq!(late.hears().await, "4");
    server.run::<()>(&["FLUSHALL"]);
    // There is room again: who is here is a member as before, and hears others.
    layer.flush().await.unwrap();
    for (number, name) in [(5, "room"), (6, "hall")] {
        strict.group_send(&group(name), &note(number)).await.unwrap();
    }
    assert_eq!((member.hears().await, late.hears().await), ("5".to_owned(), "6".to_owned()));
    assert_eq!((layer.metrics().reconnected, strict.metrics().reconnected), (0, 0));
}

/// What is not ours under our keys is refused by name, and disturbs nobody else.
#[actix_web::test]
async fn a_value_that_is_not_ours_is_named() {
    let server = RedisServer::start();
    let layer = ready(config(&server).away(Away::Error)).await;
    server.run::<()>(&["SET", "asgijobs", "x"]);
    server.run::<()>(&["SET", "asgi:group:hall", "x"]);
    let (jobs, works) = (ChannelName::new("jobs").unwrap(), ChannelName::new("works").unwrap());
    let refused = |sent: Result<(), LayerError>, key: &str| match sent {
        Err(LayerError::Refused(why)) => assert!(why.contains("WRONGTYPE") && why.contains(key), "{why}"),
        other => panic!("{other:?}"),
    };
    refused(layer.send(&jobs, &note(1)).await, "asgijobs");
    let refused_group = layer.group_send(&group("hall"), &note(1)).await;
    assert!(matches!(refused_group, Err(LayerError::Refused(_))), "{refused_group:?}");
    for channel in [&jobs, &works] {
        layer.group_add(&group("room"), channel).await.unwrap();
    }
    refused(layer.group_send(&group("room"), &note(2)).await, "asgijobs");
    let got = layer.receive(&works).await.unwrap();
    assert_eq!(got.event::<redis_tests::Note>().unwrap().number, 2, "the other one got it");
    assert_eq!(layer.metrics().reconnected, 0);
}

/// A wrong address, password or URL is said once, where it is asked for; the layer goes on trying.
#[actix_web::test]
async fn what_is_wrong_is_said() {
    let server = RedisServer::with(&["--requirepass", "right"]);
    let with = |user: &str| RedisConfig::new(format!("redis://{user}127.0.0.1:{}/1", server.port()));
    for wrong in ["", ":wrong@"] {
        let layer = RedisLayer::new(with(wrong)).unwrap();
        let error = layer.ready().await.unwrap_err().to_string();
        assert!(error.contains(&server.port().to_string()), "{error}");
        assert!(error.contains("uthentication") || error.contains("NOAUTH"), "{error}");
        assert!(!error.contains("wrong"), "no password is shown: {error}");
    }
    ready(with(":right@")).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let layer = RedisLayer::new(RedisConfig::new(format!("redis://127.0.0.1:{free}"))).unwrap();
    let error = layer.ready().await.unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains(&free.to_string()), "{error}");
    // Its consumers work, for themselves.
    let layer = Layer::new(layer);
    let mut member = Member::of(&layer, &["room"]).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
}

/// A message that is too large is refused before anybody gets it.
#[actix_web::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = RedisServer::start();
    let layer = ready(config(&server).queue_bytes(100_000).serializer(Format::Json)).await;
    let _member = Member::of(&layer, &["room"]).await;
    let text = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(200_000));
    let large = greenroom::Envelope::from_json(text).unwrap();
    let sent = layer.group_send(&group("room"), large).await;
    assert!(matches!(sent, Err(LayerError::MessageTooLarge { limit: 100_000, .. })), "{sent:?}");
}

async fn pubsub(config: RedisConfig) -> Layer {
    let layer = RedisPubSubLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

/// Pub/sub: Redis is killed and comes back; nobody's connection ends, all are subscribed again and are told.
#[actix_web::test]
async fn pubsub_survives_a_restart() {
    let mut server = RedisServer::start();
    let layer = pubsub(config(&server)).await;
    let mut members = members(&layer, 20).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    all_hear(&mut members, "1").await;
    server.kill();
    // Whether or not it is noticed yet, who is here gets it, once.
    layer.group_send(&group("room"), &note(2)).await.unwrap();
    all_hear(&mut members, "2").await;
    eventually("it is noticed", || is_away(&layer)).await;
    layer.group_send(&group("room"), &note(3)).await.unwrap();
    all_hear(&mut members, "3").await;
    server.restart();
    all_hear(&mut members, "gap in room").await;
    let mut python = Python::start("pubsub", &json!({"hosts": [server.url()]})).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 4}")]).await;
    layer.group_send(&group("room"), &note(5)).await.unwrap();
    all_hear(&mut members, "4").await;
    all_hear(&mut members, "5").await;
}

/// Pub/sub: a server that freezes is away after its time; what was sent meanwhile is delivered here, once.
#[actix_web::test]
async fn pubsub_survives_a_frozen_server() {
    let server = RedisServer::start();
    let layer = pubsub(config(&server)).await;
    let strict = pubsub(config(&server).away(Away::Error)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let mut other = Member::of(&strict, &["room"]).await;
    server.pause();
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    let sent = strict.group_send(&group("room"), &note(2)).await;
    assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    server.resume();
    // What Redis had got before it froze it may publish now, to whom is subscribed by then.
    assert_eq!(member.hears().await, "gap in room");
    assert_eq!(other.hears().await, "gap in room");
    layer.group_send(&group("room"), &note(3)).await.unwrap();
    assert_eq!((member.hears().await, other.hears().await), ("3".to_owned(), "3".to_owned()));
}

/// Pub/sub: a connection that is cut in the middle of a message comes back.
#[actix_web::test]
async fn pubsub_survives_a_cut_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let layer = pubsub(RedisConfig::new(proxy.url()).timeout(Duration::from_secs(1))).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let other = pubsub(config(&server)).await;
    proxy.cut_after(10_000);
    let long = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(20_000));
    other.group_send(&group("room"), greenroom::Envelope::from_json(long).unwrap()).await.unwrap();
    eventually("it is cut", || proxy.has_cut()).await;
    proxy.mend();
    assert_eq!(member.hears().await, "gap in room");
    other.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2");
}
