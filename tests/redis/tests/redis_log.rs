//! What an operator reads where something is wrong: what, where, once, and not in a loop of lines.

use std::time::Duration;

use greenroom::{
    ChannelName, Layer, LayerError,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
};
use integration_tests::{
    PATIENCE,
    log::{capture, lines, logged},
};
use redis_tests::{Member, Proxy, Python, RedisServer, eventually, group, note};
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

/// Both layers.
const KINDS: [&str; 2] = ["core", "pubsub"];

/// A layer of a kind, and what its first attempt to connect says.
async fn open(kind: &str, config: RedisConfig) -> (Layer, Result<(), LayerError>) {
    if kind == "core" {
        let layer = RedisLayer::new(config).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    } else {
        let layer = RedisPubSubLayer::new(config).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    }
}

async fn ready(kind: &str, config: RedisConfig) -> Layer {
    let (layer, ready) = open(kind, config).await;
    ready.unwrap();
    layer
}

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).timeout(Duration::from_secs(1))
}

fn loud(part: &str) -> Vec<String> {
    let lines = lines(&[part]);
    lines.into_iter().filter(|line| !line.contains("DEBUG") && !line.contains("TRACE")).collect()
}

/// Takes connections, and ends each at once.
struct Deaf(TcpListener);

impl Deaf {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn port(&self) -> String {
        self.0.local_addr().unwrap().port().to_string()
    }

    async fn one_more(&self) {
        drop(timeout(PATIENCE, self.0.accept()).await.expect("it tries again").unwrap());
    }
}

/// An address where nobody is, or nobody who speaks: one line with address and reason, however often it is tried.
#[actix_web::test]
async fn an_unreachable_server_is_one_line() {
    capture();
    for kind in KINDS {
        let deaf = Deaf::start().await;
        let config = RedisConfig::new(format!("redis://:secret@127.0.0.1:{}", deaf.port()));
        let opening = open(kind, config.timeout(Duration::from_secs(1)));
        let ((layer, ready), ()) = tokio::join!(opening, deaf.one_more());
        let error = ready.unwrap_err().to_string();
        assert!(error.contains(&deaf.port()), "{error}");
        // It waits twice as long before each attempt, up to 2 s.
        for _ in 0..5 {
            deaf.one_more().await;
        }
        let said = loud(&deaf.port());
        assert!(!said.is_empty() && said.len() <= 2, "a line a reason: {said:#?}");
        assert!(said[0].contains("WARN") && said[0].contains("Redis is away"), "{said:#?}");
        assert!(!lines(&[&deaf.port()]).iter().any(|line| line.contains("secret")), "no password is shown");
        drop(layer);
    }
}

/// A wrong password: the server's own word for it, once.
#[actix_web::test]
async fn a_wrong_password_is_one_line() {
    capture();
    for kind in KINDS {
        let server = RedisServer::with(&["--requirepass", "right"]);
        let proxy = Proxy::start(server.port()).await;
        let port = proxy.url().rsplit(':').next().unwrap().to_owned();
        let (_layer, ready) = open(kind, RedisConfig::new(format!("redis://:wrong@127.0.0.1:{port}"))).await;
        let error = ready.unwrap_err().to_string();
        assert!(error.contains(&port) && !error.contains("wrong@"), "{error}");
        let before = proxy.flights();
        eventually("it tries again and again", || proxy.flights() >= before + 3).await;
        let said = loud(&port);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains("WRONGPASS") || said[0].contains("uthentication"), "{said:#?}");
    }
}

/// A server that is there and gone again and again: not a line each time, and who has members there is told each time.
#[actix_web::test]
async fn a_connection_that_flaps_is_no_flood() {
    capture();
    for kind in KINDS {
        let server = RedisServer::start();
        let proxy = Proxy::start(server.port()).await;
        let port = proxy.url().rsplit(':').next().unwrap().to_owned();
        let layer = ready(kind, RedisConfig::new(proxy.url())).await;
        let mut member = Member::of(&layer, &["room"]).await;
        for flap in 1..=6 {
            server.run::<u64>(&["CLIENT", "KILL", "TYPE", if kind == "core" { "normal" } else { "pubsub" }]);
            eventually("it is back", || layer.metrics().reconnected == flap).await;
            assert_eq!(member.hears().await, "gap in room");
        }
        let said = loud(&port);
        assert!((1..=4).contains(&said.len()), "for 6 times away and back: {said:#?}");
    }
}

/// Another key, another serializer, no message at all: one line for many, with where it came from; nobody ends.
#[actix_web::test]
async fn what_cannot_be_read_is_one_line() {
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
        // By the pub/sub layer the topic, by the core layer the queue of this process.
        let from = if kind == "core" {
            member.channel().non_local().to_owned()
        } else {
            format!("asgi__group__{room}")
        };
        let said = loud(&from);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].contains("symmetric_encryption_keys"), "it says what to look at: {said:#?}");
        layer.group_send(&group(&room), &note(2)).await.unwrap();
        assert_eq!(member.hears().await, "2");
    }
}

/// A value of another kind under a key of ours: who asks is told the key; the log says it once.
#[actix_web::test]
async fn a_value_of_another_kind_is_named() {
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
    // Whoever joins is a member here.
    let mut member = Member::of(&layer, &["hall"]).await;
    assert_eq!(loud("kinds:group:hall").len(), 1, "{:#?}", loud("kinds:group:hall"));

    // The queue of the process itself: nothing comes from elsewhere, which is said, and it goes on when it is gone.
    let own = format!("kinds{}", member.channel().non_local());
    server.run::<()>(&["SET", &own, "x"]);
    logged(&["does not let its messages be read", &own, "WRONGTYPE"]).await;
    server.run::<u64>(&["DEL", &own, "kinds:group:hall"]);
    let other = ready("core", config(&server).prefix("kinds")).await;
    let name = member.channel();
    other.send(&name, &note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
    assert_eq!(loud(&own).len(), 1, "{:#?}", loud(&own));
    assert_eq!(layer.metrics().reconnected, 0);
}

/// A message that is too large: who sends it is told its size and the limit, nobody gets it, and nothing is logged.
#[actix_web::test]
async fn a_message_that_is_too_large_is_the_senders_affair() {
    capture();
    for kind in KINDS {
        let server = RedisServer::start();
        let layer = ready(kind, config(&server).queue_bytes(100_000)).await;
        let mut member = Member::of(&layer, &["room"]).await;
        let text = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(200_000));
        let large = greenroom::Envelope::from_json(text).unwrap();
        let error = layer.group_send(&group("room"), large).await.unwrap_err();
        assert!(matches!(error, LayerError::MessageTooLarge { limit: 100_000, .. }), "{error:?}");
        assert!(error.to_string().contains("100000"), "{error}");
        layer.group_send(&group("room"), &note(2)).await.unwrap();
        assert_eq!(member.hears().await, "2", "and not 1");
        assert!(loud(&server.port().to_string()).is_empty());
    }
}
