//! Redis servers that end, forget, refuse or are cut off, with channels_redis beside us.
//!
//! The conformance suite has the faults that a server of any kind may have.

use std::time::Duration;

use greenroom::{
    ChannelName, Layer, LayerConfig, LayerError,
    layers::{
        Away,
        redis::{RedisConfig, RedisLayer},
    },
};
use redis_tests::{Member, Proxy, Python, RedisServer, eventually, group, is_away, note};
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

/// A group has one name in Redis for each process, however many members it has there. The last member's leaving removes
/// the name, and so does the end of the layer.
#[actix_web::test]
async fn a_process_has_one_name_in_a_group() {
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let many = members(&layer, 100).await;
    let names: Vec<String> = server.run(&["ZRANGE", ROOM_KEY, "0", "-1"]);
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(ChannelName::new(&names[0]).is_ok(), "Django accepts the name: {}", names[0]);
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
    eventually("the end of a layer removes its name", || server.run::<u64>(&["ZCARD", ROOM_KEY]) == 1).await;
}

/// Redis is killed and comes back empty. A consumer of channels_redis ends at once. Our members are members again, and hear
/// Python.
#[actix_web::test]
async fn a_redis_restart_ends_consumers_of_channels_redis_but_not_ours() {
    let mut server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut members = members(&layer, 20).await;
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
    eventually("it is noticed", || is_away(&layer)).await;
    server.restart();
    all_hear(&mut members, "gap in room").await;
    assert_eq!(server.run::<u64>(&["ZCARD", ROOM_KEY]), 1);
    let mut python = Python::start("core", &json!({"hosts": [server.url()]})).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 2}")]).await;
    all_hear(&mut members, "2").await;
}

/// Connections are cut, one of them in the middle of a message. The messages that wait in Redis arrive afterwards, and no
/// member ends.
#[actix_web::test]
async fn messages_that_wait_in_redis_arrive_after_a_cut_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let layer = ready(RedisConfig::new(proxy.url()).timeout(Duration::from_secs(1))).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let mut python = Python::start("core", &json!({"hosts": [server.url()]})).await;
    // The message is longer than the bytes that the proxy lets through, so the reply breaks off inside it.
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
    assert_eq!(heard, ["2", "3", "4", "gap in room"], "the message on its way is lost, and a gap says so");

    let ours = server.run::<String>(&["CLIENT", "LIST", "TYPE", "normal"]);
    assert!(ours.lines().count() <= 8, "two connections for each shard, and Python's:\n{ours}");
    let killed: u64 = server.run(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(killed >= 2, "{killed}");
    assert_eq!(member.hears().await, "gap in room");
    // Python's connection was one of them.
    while python.call("group_send", &[json!("room"), json!("{'type': 'note', 'number': 5}")]).await.is_err() {
    }
    assert_eq!(member.hears().await, "5");
}

/// A group loses its last member while Redis is away. Its name is removed afterwards, so that other processes do not write
/// to it for a day.
#[actix_web::test]
async fn a_group_left_during_an_outage_is_removed_from_redis() {
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

/// While 2,000 members come and go, those that stay get all that Python sends.
#[actix_web::test]
async fn members_that_come_and_go_lose_no_message_from_python() {
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

/// Far more messages arrive than Django lets wait in a queue, because the queue is drained again and again.
#[actix_web::test]
async fn the_queue_in_redis_is_drained_again_and_again() {
    const COUNT: u64 = 2_000;
    let server = RedisServer::start();
    let layer = ready(config(&server).layer(LayerConfig::new().capacity(COUNT as usize))).await;
    let own = layer.new_channel().await.unwrap();
    layer.group_add(&group("room"), &own).await.unwrap();
    let queue = format!("asgi{}", own.non_local());
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
            if number % 50 == 49 {
                // Now all are written. A queue that is not drained would be full after two rounds.
                other.group_send_counted(&group("nobody"), &note(0)).await.unwrap();
                eventually("it is drained", || server.run::<u64>(&["ZCARD", &queue]) == 0).await;
            }
        }
    };
    tokio::join!(receive, send);
}

/// Memberships are written again before they expire, and after another program has deleted them.
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
    assert_eq!(member.hears().await, "1", "the membership is older than the group's expiry");
    let upstream = python.call("receive", &[theirs, json!(1)]).await;
    assert_eq!(upstream, Err("TimeoutError: ".into()), "the membership of channels_redis has expired");
    python.must("flush", &[]).await;
    eventually("it is there again", || server.run::<u64>(&["EXISTS", ROOM_KEY]) == 1).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'note', 'number': 2}")]).await;
    assert_eq!(member.hears().await, "2");
}

/// A message that was sent too long ago is not delivered. (channels_redis would deliver it.)
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

    // channels_redis delivers such a message to its consumer.
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

/// A Redis without free memory refuses. The sender gets the error, members of this process are served, and the connection
/// stays.
#[actix_web::test]
async fn a_redis_without_free_memory_refuses_sends() {
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
    // A consumer that joins now is a member in this process all the same, and does not wait.
    let mut late = Member::of(&layer, &["hall"]).await;
    layer.group_send(&group("hall"), &note(4)).await.unwrap();
    assert_eq!(late.hears().await, "4");
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "100mb"]);
    // Redis has memory again. The layer asks again by itself, and the members hear others.
    assert_eq!(late.hears().await, "gap in hall");
    for (number, name) in [(5, "room"), (6, "hall")] {
        strict.group_send(&group(name), &note(number)).await.unwrap();
    }
    assert_eq!((member.hears().await, late.hears().await), ("5".to_owned(), "6".to_owned()));
    assert_eq!((layer.metrics().reconnected, strict.metrics().reconnected), (0, 0));
}

/// A value of another kind under one of our keys is an error that names the key. Other channels are not disturbed.
#[actix_web::test]
async fn a_foreign_value_under_our_key_is_refused_with_its_key() {
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
    assert_eq!(got.event::<redis_tests::Note>().unwrap().number, 2, "the other channel got the event");
    assert_eq!(layer.metrics().reconnected, 0);
}
