//! The conformance suite over both layers, through a sentinel: what `test_sentinel.py` and `test_pubsub_sentinel.py` repeat.

use conformance_tests::Server;
use greenroom::{
    Layer, LayerConfig,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
};
use redis_tests::RedisServer;

/// A master, and who knows where it is.
struct Sentinel {
    sentinel: RedisServer,
    _master: RedisServer,
}

impl Sentinel {
    fn start() -> Self {
        let master = RedisServer::start();
        Self { sentinel: RedisServer::sentinel(&master), _master: master }
    }

    fn config(&self, config: LayerConfig) -> RedisConfig {
        RedisConfig::sentinel("mymaster", [self.sentinel.url()], None).layer(config)
    }
}

struct Core(Sentinel);

impl Server for Core {
    async fn start() -> Self {
        Self(Sentinel::start())
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let layer = RedisLayer::new(self.0.config(config)).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

mod core {
    conformance_tests::every_layer!(super::Core);
    conformance_tests::stored!(super::Core);
    conformance_tests::processes!(super::Core);
    conformance_tests::shared!(super::Core);
}

struct PubSub(Sentinel);

impl Server for PubSub {
    const STORES: bool = false;

    async fn start() -> Self {
        Self(Sentinel::start())
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let layer = RedisPubSubLayer::new(self.0.config(config)).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

mod pubsub {
    conformance_tests::every_layer!(super::PubSub);
    conformance_tests::processes!(super::PubSub);
}
