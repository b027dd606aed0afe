//! A layer that is closed: nobody waits for what does not come, and who is here is served still.

use std::time::Duration;

use actix_web::rt;
use greenroom::{
    ChannelName, Layer, LayerError,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
};
use integration_tests::PATIENCE;
use redis_tests::{Member, RedisServer, eventually, group, note};
use tokio::time::timeout;

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).timeout(Duration::from_secs(60))
}

async fn core(server: &RedisServer) -> Layer {
    let layer = RedisLayer::new(config(server)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

async fn pubsub(server: &RedisServer) -> Layer {
    let layer = RedisPubSubLayer::new(config(server)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it does not hang")
}

fn has_ended<T: std::fmt::Debug>(result: &Result<T, LayerError>) {
    assert!(matches!(result, Err(LayerError::Unavailable(why)) if why.contains("ended")), "{result:?}");
}

/// Who waits for a job when the layer is closed is told, and who asks after that.
#[actix_web::test]
async fn a_receive_ends_with_its_layer() {
    let server = RedisServer::start();
    let (layer, jobs) = (core(&server).await, ChannelName::new("jobs").unwrap());
    let waiting = rt::spawn({
        let (layer, jobs) = (layer.clone(), jobs.clone());
        async move { layer.receive(&jobs).await }
    });
    // It is in Redis' hands by then.
    eventually("it waits", || {
        server.run::<String>(&["CLIENT", "LIST"]).lines().any(|client| client.contains("flags=b"))
    })
    .await;
    soon(layer.close()).await;
    has_ended(&soon(waiting).await.unwrap());
    has_ended(&soon(layer.receive(&jobs)).await);
    has_ended(&soon(layer.flush()).await);
    has_ended(&layer.send(&jobs, &note(1)).await);
}

/// Consumers join, send and leave in a process whose layer is closed, as while Redis is away.
#[actix_web::test]
async fn consumers_go_on_behind_the_end() {
    let server = RedisServer::start();
    for layer in [core(&server).await, pubsub(&server).await] {
        let mut before = Member::of(&layer, &["room"]).await;
        soon(layer.close()).await;
        let mut after = soon(Member::of(&layer, &["room", "hall"])).await;
        soon(layer.group_send(&group("room"), &note(1))).await.unwrap();
        soon(layer.group_send(&group("hall"), &note(2))).await.unwrap();
        assert_eq!(before.hears().await, "1");
        assert_eq!((after.hears().await, after.hears().await), ("1".to_owned(), "2".to_owned()));
        let own = layer.new_channel().await.unwrap();
        soon(layer.group_add(&group("room"), &own)).await.unwrap();
        let _ = soon(layer.group_discard(&group("room"), &own)).await;
        soon(after.leave()).await;
        // Twice is once.
        soon(layer.close()).await;
    }
    assert_eq!(server.run::<u64>(&["DBSIZE"]), 0, "nothing is left there");
}

/// Pub/sub: a send that waits for its echo from a frozen server is served here when the layer is closed.
#[actix_web::test]
async fn an_echo_is_not_waited_for_behind_the_end() {
    let server = RedisServer::start();
    let layer = pubsub(&server).await;
    let mut member = Member::of(&layer, &["room"]).await;
    server.pause();
    let sending = rt::spawn({
        let layer = layer.clone();
        async move { layer.group_send(&group("room"), &note(1)).await }
    });
    tokio::task::yield_now().await;
    soon(layer.close()).await;
    soon(sending).await.unwrap().unwrap();
    assert_eq!(member.hears().await, "1");
    soon(layer.group_send(&group("room"), &note(2))).await.unwrap();
    assert_eq!(member.hears().await, "2");
    server.resume();
}
