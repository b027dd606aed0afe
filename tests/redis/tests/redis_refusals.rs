//! A Redis that answers "not now", or has become a replica: that is an outage, and ends like one.

use std::{
    thread,
    time::{Duration, Instant},
};

use greenroom::{Layer, layers::redis::RedisConfig};
use redis_tests::{
    Member, Proxy, RedisServer, eventually, group, is_away,
    kinds::{Core, Kind, PubSub},
    note,
};

async fn ready<K: Kind>(url: &str) -> Layer {
    let (layer, ready) = K::open(RedisConfig::new(url).timeout(Duration::from_secs(2))).await;
    ready.expect("the layer connects");
    layer
}

/// While `refuses`, Redis counts as away. After that, the joins and leaves of this time are done, and a gap is told.
async fn is_an_outage<K: Kind>(
    server: &RedisServer,
    code: &str,
    refuses: impl FnOnce(),
    goes_on: impl FnOnce(),
) {
    let here = ready::<K>(&server.url()).await;
    let mut member = Member::of(&here, &["room"]).await;
    let leaves = Member::of(&here, &["yard"]).await;
    refuses();
    eventually("the refusals are noticed", || is_away(&here)).await;
    let mut late = Member::of(&here, &["hall"]).await;
    leaves.leave().await;
    let (_, opened) = K::open(RedisConfig::new(server.url())).await;
    let error = opened.expect_err("a layer is ready only when it works").to_string();
    assert!(error.contains(code), "{error}");
    here.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1", "members in this process are served");
    assert_eq!(here.metrics().unpublished, 1);
    goes_on();
    assert_eq!((member.hears().await, late.hears().await), ("gap in room".into(), "gap in hall".into()));
    let other = ready::<K>(&server.url()).await;
    for name in ["room", "hall"] {
        other.group_send(&group(name), note(2)).await.unwrap();
    }
    assert_eq!((member.hears().await, late.hears().await), ("2".to_owned(), "2".to_owned()));
    eventually("no ghost is left", || server.run::<u64>(&["EXISTS", "asgi:group:yard"]) == 0).await;
}

fn set(server: &RedisServer, name: &str, value: &str) {
    server.run::<()>(&["CONFIG", "SET", name, value]);
}

#[actix_web::test]
async fn a_master_without_enough_replicas_is_away() {
    let server = RedisServer::start();
    let replicas = |count| set(&server, "min-replicas-to-write", count);
    is_an_outage::<Core>(&server, "NOREPLICAS", || replicas("1"), || replicas("0")).await;
}

#[actix_web::test]
async fn a_redis_that_cannot_save_is_away() {
    let folder = std::env::temp_dir().join(format!("greenroom-misconf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let server = RedisServer::with(&["--save", "3600 1", "--dir", &folder.display().to_string()]);
    let refuses = || {
        std::fs::remove_dir_all(&folder).unwrap();
        server.run::<()>(&["BGSAVE"]);
    };
    let goes_on = || set(&server, "stop-writes-on-bgsave-error", "no");
    is_an_outage::<Core>(&server, "MISCONF", refuses, goes_on).await;
}

/// The pub/sub layer writes nothing, so it goes on.
#[actix_web::test]
async fn pubsub_works_on_a_redis_that_takes_no_writes() {
    let server = RedisServer::with(&["--min-replicas-to-write", "1"]);
    let (here, other) = (ready::<PubSub>(&server.url()).await, ready::<PubSub>(&server.url()).await);
    let mut member = Member::of(&here, &["room"]).await;
    other.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    assert_eq!(here.metrics().reconnected, 0);
}

async fn a_long_script<K: Kind>() {
    let server = RedisServer::with(&["--lua-time-limit", "50"]);
    let mut connection = server.connect();
    let refuses = move || {
        thread::spawn(move || {
            let _ = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut connection);
        });
    };
    is_an_outage::<K>(&server, "BUSY", refuses, || server.run::<()>(&["SCRIPT", "KILL"])).await;
}

#[actix_web::test]
async fn a_redis_that_runs_a_long_script_is_away() {
    a_long_script::<Core>().await;
    a_long_script::<PubSub>().await;
}

async fn a_demotion<K: Kind>(stale: &str, code: &str) {
    let server = RedisServer::with(&["--replica-serve-stale-data", stale]);
    let refuses = || server.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    is_an_outage::<K>(&server, code, refuses, || server.run::<()>(&["REPLICAOF", "NO", "ONE"])).await;
}

#[actix_web::test]
async fn a_master_that_becomes_a_replica_is_away() {
    a_demotion::<Core>("yes", "READONLY").await;
    a_demotion::<Core>("no", "READONLY").await;
    a_demotion::<PubSub>("yes", "replica").await;
}

/// A Redis that loads a large snapshot answers nothing else for some seconds.
#[actix_web::test]
async fn a_redis_that_loads_is_away() {
    // A snapshot that others find would be loaded by them.
    let folder = std::env::temp_dir().join(format!("greenroom-loading-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let server =
        RedisServer::with(&["--enable-debug-command", "yes", "--dir", &folder.display().to_string()]);
    for key in 0..400 {
        server.run::<()>(&["SET", &format!("large:{key}"), &"x".repeat(4_000)]);
    }
    set(&server, "loading-process-events-interval-bytes", "1024");
    set(&server, "rdbcompression", "no");
    // 10 ms for each key.
    set(&server, "key-load-delay", "10000");
    let mut connection = server.connect();
    let refuses = move || {
        thread::spawn(move || redis::cmd("DEBUG").arg("RELOAD").query::<()>(&mut connection));
    };
    is_an_outage::<Core>(&server, "LOADING", refuses, || ()).await;
    let _ = std::fs::remove_dir_all(folder);
}

/// The address of Redis leads to another server, and the server before is its replica. Connections to the server before
/// stay open.
async fn a_failover<K: Kind>() {
    let (before, after) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::start(before.port()).await;
    let (here, there) = (ready::<K>(&proxy.url()).await, ready::<K>(&proxy.url()).await);
    let (mut ours, mut theirs) = (Member::of(&here, &["room"]).await, Member::of(&there, &["room"]).await);
    before.run::<()>(&["REPLICAOF", "127.0.0.1", &after.port().to_string()]);
    let begun = Instant::now();
    proxy.lead_to(after.port());
    assert_eq!((ours.hears().await, theirs.hears().await), ("gap in room".into(), "gap in room".into()));
    for (number, layer) in [(1, &here), (2, &there)] {
        layer.group_send(&group("room"), note(number)).await.unwrap();
        assert_eq!((ours.hears().await, theirs.hears().await), (number.to_string(), number.to_string()));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!((here.metrics().reconnected, there.metrics().reconnected), (1, 1));
}

#[actix_web::test]
async fn a_failover_behind_one_address_is_followed() {
    a_failover::<Core>().await;
    a_failover::<PubSub>().await;
}

/// The drop of a layer does not stop the other connections of its thread, even if Redis does not answer.
#[actix_web::test]
async fn a_drop_blocks_no_thread_that_runs_consumers() {
    let server = RedisServer::start();
    let layer = ready::<Core>(&server.url()).await;
    let _member = Member::of(&layer, &["room"]).await;
    let another = ready::<Core>(&server.url()).await;
    let queue = another.new_channel().await.unwrap();
    another.group_add(&group("room"), &queue).await.unwrap();
    server.pause();
    let begun = Instant::now();
    drop(another);
    let took = begun.elapsed();
    server.resume();
    assert!(took < Duration::from_millis(900), "{took:?}: on other threads it waits for a second");
    eventually("its name is out", || server.run::<u64>(&["ZCARD", "asgi:group:room"]) == 1).await;
}
