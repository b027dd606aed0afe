//! The log lines that an operator reads when something is wrong: one line, which says what is wrong and where.

use std::time::Duration;

use greenroom::{
    ChannelName, Layer, LayerError,
    history::History,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
};
use integration_tests::log::{capture, lines, logged};
use redis_tests::{Member, Python, RedisServer, eventually, group, note};
use serde_json::json;

/// Both kinds of layers on Redis.
const KINDS: [&str; 2] = ["core", "pubsub"];

/// A layer of this kind, connected to its server.
async fn ready(kind: &str, config: RedisConfig) -> Layer {
    if kind == "core" {
        let layer = RedisLayer::new(config).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    } else {
        let layer = RedisPubSubLayer::new(config).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).timeout(Duration::from_secs(1))
}

fn loud(part: &str) -> Vec<String> {
    let lines = lines(&[part]);
    lines.into_iter().filter(|line| !line.contains("DEBUG") && !line.contains("TRACE")).collect()
}

/// Many messages under another encryption key are one log line, which names their origin. No consumer ends.
#[actix_web::test]
async fn many_unreadable_messages_are_one_log_line() {
    capture();
    for kind in KINDS {
        let server = RedisServer::start();
        let layer = ready(kind, config(&server).encryption_keys(["ours"])).await;
        let room = format!("{kind}-unreadable");
        let mut member = Member::of(&layer, &[&room]).await;
        let theirs = json!({"hosts": [server.url()], "symmetric_encryption_keys": ["theirs"]});
        let mut python = Python::start(kind, &theirs).await;
        for _ in 0..20 {
            python.must("group_send", &[json!(room), json!("{'type': 'note', 'number': 1}")]).await;
        }
        eventually("all are counted", || layer.metrics().undecodable == 20).await;
        // The pub/sub layer names the topic, the core layer the queue of this process.
        let from = if kind == "core" {
            member.channel().non_local().to_owned()
        } else {
            format!("asgi__group__{room}")
        };
        let said = loud(&from);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(
            said[0].contains("symmetric_encryption_keys"),
            "the line names the setting to check: {said:#?}"
        );
        layer.group_send(&group(&room), &note(2)).await.unwrap();
        assert_eq!(member.hears().await, "2");
    }
}

/// What another program puts into Redis cannot forge lines of the log, or fill it: names of events, and wrong fields.
#[actix_web::test]
async fn a_peer_cannot_forge_a_line() {
    capture();
    for kind in KINDS {
        let server = RedisServer::start();
        let layer = ready(kind, config(&server)).await;
        let room = format!("{kind}-forged");
        let mut member = Member::of(&layer, &[&room]).await;
        let mut python = Python::start(kind, &json!({"hosts": [server.url()]})).await;
        let name = format!("forged.{kind}");
        let evil = format!("{name}\n2030-01-01T00:00:00Z ERROR root: {name} \u{1b}[31m\u{202e}\u{85}");
        // A text of JSON is one of Python too.
        let text = |start: &str| json!(format!("{start}{evil}{}", "x".repeat(100_000))).to_string();
        for event in [
            format!("{{'type': {}}}", text("")),
            format!("{{'type': {}}}", text("_")),
            format!("{{'type': 'note', 'number': {}}}", text("")),
        ] {
            python.must("group_send", &[json!(room), json!(event)]).await;
        }
        eventually("all are counted", || {
            let metrics = layer.metrics();
            (metrics.undecodable, metrics.unhandled) == (1, 2)
        })
        .await;
        layer.group_send(&group(&room), &note(2)).await.unwrap();
        assert_eq!(member.hears().await, "2");
        logged(&[&format!("_{name}"), "cannot be read"]).await;
        logged(&[&format!("\"{name}"), "no handler for an event"]).await;
        for line in lines(&[&name]) {
            let text = line.trim_end_matches('\n');
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
            assert!(text.len() < 4096, "a line of {} bytes", text.len());
        }
    }
}

/// If one of our keys has a value of another kind, each call gets an error that names the key. The log says so once.
#[actix_web::test]
async fn a_value_of_another_kind_under_our_key_is_logged_once() {
    capture();
    let server = RedisServer::start();
    let layer = ready("core", config(&server).prefix("kinds").away(greenroom::layers::Away::Error)).await;
    server.run::<()>(&["SET", "kinds:group:hall", "x"]);
    let refused = |sent: Result<(), LayerError>| match sent {
        Err(LayerError::Refused(why)) => {
            assert!(why.contains("kinds:group:hall") && why.contains("WRONGTYPE"), "{why}");
        }
        other => panic!("{other:?}"),
    };
    for _ in 0..20 {
        refused(layer.group_send(&group("hall"), &note(1)).await);
        refused(layer.group_add(&group("hall"), &ChannelName::new("works").unwrap()).await);
    }
    // A consumer that joins is a member in this process.
    let mut member = Member::of(&layer, &["hall"]).await;
    assert_eq!(loud("kinds:group:hall").len(), 1, "{:#?}", loud("kinds:group:hall"));

    // The same for the queue of the process itself. Nothing arrives from other processes, which the log says. After the
    // value is deleted, messages arrive again.
    let own = format!("kinds{}", member.channel().non_local());
    server.run::<()>(&["SET", &own, "x"]);
    logged(&["refused to hand out messages", &own, "WRONGTYPE"]).await;
    server.run::<u64>(&["DEL", &own, "kinds:group:hall"]);
    let other = ready("core", config(&server).prefix("kinds")).await;
    let name = member.channel();
    other.send(&name, &note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
    assert_eq!(loud(&own).len(), 1, "{:#?}", loud(&own));
    assert_eq!(layer.metrics().reconnected, 0);
}

/// Another program keeps less of a group's events than this one, which never sends to the group itself. The log says so once
/// for the policy: to a program that has members in the group, and to one that only reads.
#[actix_web::test]
async fn a_policy_of_another_program_is_said_to_who_only_hears() {
    capture();
    for (number, kind) in (0..).zip(KINDS) {
        let server = RedisServer::start();
        // No other test has these numbers.
        let config = || config(&server).history("room*", History::last(5_001 + number));
        let [with_member, reader] = [ready(kind, config()).await, ready(kind, config()).await];
        let mut member = Member::of(&with_member, &["room.1"]).await;
        let shape = json!({"hosts": [server.url()], "history": [["room*", 3, 60]]});
        let mut python = Python::start(&format!("history-{kind}"), &shape).await;
        for room in ["room.1", "room.2"] {
            python.must("group_send", &[json!(room), json!("{'type': 'note', 'number': 1}")]).await;
        }
        assert_eq!(member.hears().await, "1");
        let ours = format!("{}:300", 5_001 + number);
        let parts = ["WARN", "different policies", &ours, "3:60"];
        // At its next look.
        logged(&parts).await;
        assert_eq!(lines(&parts).len(), 1, "{:#?}", lines(&parts));
        for room in ["room.1", "room.2", "room.1"] {
            let page = reader.history(&group(room)).read().await.unwrap();
            assert_eq!(page.events.len(), 1);
        }
        assert_eq!(lines(&parts).len(), 2, "{:#?}", lines(&parts));
    }
}
