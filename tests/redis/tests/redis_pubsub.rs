//! The conformance suite over `RedisPubSubLayer`.

use conformance_tests::Server;
use greenroom::{
    Layer, LayerConfig,
    layers::redis::{RedisConfig, RedisPubSubLayer},
};
use redis_tests::RedisServer;

struct PubSub(RedisServer);

impl Server for PubSub {
    const STORES: bool = false;

    async fn start() -> Self {
        Self(RedisServer::start())
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let layer = RedisPubSubLayer::new(RedisConfig::new(self.0.url()).layer(config)).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

mod pubsub {
    conformance_tests::every_layer!(super::PubSub);
    conformance_tests::moved_clock!(super::PubSub, "its echo needs Redis' own time");
    conformance_tests::stored!(super::PubSub, "pub/sub keeps nothing for who does not listen");
    conformance_tests::processes!(super::PubSub);
    conformance_tests::shared!(super::PubSub, "pub/sub keeps nothing, and knows no groups");
    conformance_tests::workers!(super::PubSub, "each process that listens gets each job");
}
