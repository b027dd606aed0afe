//! A layer that is closed: no call waits for a message that cannot come.

use std::time::Duration;

use actix_web::rt;
use greenroom::{
    ChannelName, Layer, LayerError,
    layers::redis::{RedisConfig, RedisLayer},
};
use integration_tests::PATIENCE;
use redis_tests::{RedisServer, eventually, note};
use tokio::time::timeout;

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).timeout(Duration::from_secs(60))
}

async fn core(server: &RedisServer) -> Layer {
    let layer = RedisLayer::new(config(server)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it does not hang")
}

fn has_ended<T: std::fmt::Debug>(result: &Result<T, LayerError>) {
    assert!(matches!(result, Err(LayerError::Unavailable(why)) if why.contains("ended")), "{result:?}");
}

/// A `receive` that waits when the layer is closed fails, and so does every later call.
#[actix_web::test]
async fn a_receive_ends_when_its_layer_is_closed() {
    let server = RedisServer::start();
    let (layer, jobs) = (core(&server).await, ChannelName::new("jobs").unwrap());
    let waiting = rt::spawn({
        let (layer, jobs) = (layer.clone(), jobs.clone());
        async move { layer.receive(&jobs).await }
    });
    // Redis then holds the blocking command.
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
