//! The places of a Redis server: TLS, a Unix socket, a password, a sentinel, another database.

use std::time::Duration;

use greenroom::{
    Layer,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
};
use integration_tests::PATIENCE;
use redis_tests::{Certificate, Member, RedisServer, free_port, group, note};

/// Shows, twice, that two layers of each kind hear each other with this configuration.
async fn works(config: RedisConfig) {
    works_once(config.clone()).await;
    works_once(config).await;
}

/// As [`works`]. One time is enough if each connection costs much, as TLS does in an unoptimized program.
pub(crate) async fn works_once(config: RedisConfig) {
    let core = || async {
        let layer = RedisLayer::new(config.clone()).unwrap();
        layer.ready().await.unwrap();
        Layer::new(layer)
    };
    hears(&core().await, &core().await).await;
    let pubsub = || async {
        let layer = RedisPubSubLayer::new(config.clone()).unwrap();
        layer.ready().await.unwrap();
        Layer::new(layer)
    };
    hears(&pubsub().await, &pubsub().await).await;
}

async fn hears(first: &Layer, second: &Layer) {
    let mut member = Member::of(first, &["room"]).await;
    second.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    member.leave().await;
}

#[actix_web::test]
async fn both_layers_work_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("greenroom-redis-{}.sock", std::process::id()));
    let path = path.display().to_string();
    let server = RedisServer::with(&["--unixsocket", &path]);
    works(RedisConfig::new(format!("unix://{path}"))).await;
    assert!(Layer::open(&format!("unix://{path}")).await.is_ok());
    drop(server);
    let _server =
        RedisServer::with(&["--unixsocket", &path, "--user", "ann", "on", ">a secret", "~*", "&*", "+@all"]);
    works(RedisConfig::new(format!("unix://{path}?user=ann&pass=a%20secret&db=3"))).await;
}

#[actix_web::test]
async fn both_layers_work_with_a_user_a_password_and_a_database() {
    let server = RedisServer::with(&["--user", "ann", "on", ">secret", "~*", "&*", "+@all"]);
    let url = format!("redis://ann:secret@127.0.0.1:{}/3", server.port());
    works(RedisConfig::new(format!("{url}?protocol=resp3"))).await;
    works(RedisConfig::new(url)).await;
}

/// The user may do what the layer does, and nothing else: no administration, and only keys of the prefix.
#[actix_web::test]
async fn both_layers_work_with_a_user_of_few_rights() {
    let rights = "ann on >secret ~asgi* &* -@all +@sortedset +@pubsub +@connection +eval +expire +del +scan";
    let rights: Vec<&str> = ["--user"].into_iter().chain(rights.split(' ')).collect();
    let server = RedisServer::with(&rights);
    works(RedisConfig::new(format!("redis://ann:secret@127.0.0.1:{}", server.port()))).await;
}

#[actix_web::test]
async fn both_layers_work_over_tls() {
    let certificate = Certificate::new();
    let port = free_port();
    let options = certificate.options(port);
    let _server = RedisServer::with(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let config = RedisConfig::new(format!("rediss://localhost:{port}"));
    works(config.clone().root_certificates(certificate.pem.as_bytes())).await;
    // A client that does not trust the certificate gets an error.
    let error = RedisLayer::new(config).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.contains("ertificate"), "{error}");
}

/// A sentinel that was cut off may name a server that has become a replica. The layer takes the word of another one.
#[actix_web::test]
async fn a_replica_is_not_taken_for_the_master() {
    let master = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    let (stale, right) = (RedisServer::sentinel(&replica), RedisServer::sentinel(&master));
    let config = |sentinels: &[&RedisServer]| {
        RedisConfig::sentinel("mymaster", sentinels.iter().map(|sentinel| sentinel.url()), None)
    };
    works(config(&[&stale, &right])).await;
    let error = RedisLayer::new(config(&[&stale])).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.contains("replica"), "{error}");
    // A sentinel that hangs holds nobody up.
    stale.pause();
    let patient = config(&[&stale, &right]).timeout(Duration::from_secs(600));
    tokio::time::timeout(PATIENCE, works_once(patient)).await.expect("only the other one is waited for");
}

#[actix_web::test]
async fn both_layers_work_through_a_sentinel() {
    let master = RedisServer::with(&["--requirepass", "secret"]);
    let sentinel = RedisServer::sentinel(&master);
    let with = |name: &str| RedisConfig::sentinel(name, [sentinel.url()], Some("redis://:secret@any/2"));
    works(with("mymaster")).await;
    let unknown = with("another").timeout(Duration::from_secs(1));
    let error = RedisLayer::new(unknown).unwrap().ready().await.unwrap_err().to_string();
    assert!(error.contains("another"), "{error}");
    // A sentinel answers a ping, but keeps no messages.
    let error = Layer::open(&sentinel.url()).await.unwrap_err();
    let why = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(why.contains("sentinel"), "{why}");
}

/// On a Redis Cluster some names would be on nodes that the layer never asks. So the layer says at the start that it
/// does not work, and what does.
#[actix_web::test]
async fn a_cluster_is_refused_at_the_start() {
    let file = format!("greenroom-nodes-{}.conf", free_port());
    let cluster = RedisServer::with(&["--cluster-enabled", "yes", "--cluster-config-file", &file]);
    for url in [cluster.url(), cluster.url().replace("redis://", "redis-pubsub://")] {
        let error = Layer::open(&url).await.unwrap_err();
        let why = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(why.contains("Redis Cluster") && why.contains("NATS"), "{why}");
    }
    let _ = std::fs::remove_file(std::env::temp_dir().join(file));
}

/// A URL of an option may have blanks around it and a scheme in capitals, and several are separated by commas. A comma
/// in a password is an error that says how to write it.
#[actix_web::test]
async fn a_layer_is_opened_by_urls_as_people_write_them() {
    let (one, two) = (RedisServer::with(&["--requirepass", "a,b"]), RedisServer::start());
    let (first, second) = (one.port(), two.port());
    for url in [
        format!(" redis://:a%2Cb@127.0.0.1:{first}\n"),
        format!("REDIS://:a%2Cb@127.0.0.1:{first} , Redis://127.0.0.1:{second}"),
        format!("Redis-PubSub://:a%2Cb@127.0.0.1:{first},redis-pubsub://127.0.0.1:{second}"),
    ] {
        hears(&Layer::open(&url).await.unwrap(), &Layer::open(&url).await.unwrap()).await;
    }
    for (wrong, says) in [
        (format!("redis://:a,b@127.0.0.1:{first}"), "%2C"),
        (format!("redis://127.0.0.1:{first},redis-pubsub://127.0.0.1:{second}"), "same scheme"),
    ] {
        let error = Layer::open(&wrong).await.unwrap_err();
        let why = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(why.contains(says) && !why.contains("a,b"), "{why}");
    }
}
