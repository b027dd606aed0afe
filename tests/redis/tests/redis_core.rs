//! The conformance suite over `RedisLayer`.

use conformance_tests::Server;
use greenroom::{
    Layer, LayerConfig,
    layers::redis::{RedisConfig, RedisLayer},
};
use redis_tests::RedisServer;

struct Core(RedisServer);

impl Server for Core {
    async fn start() -> Self {
        Self(RedisServer::start())
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let layer = RedisLayer::new(RedisConfig::new(self.0.url()).layer(config)).unwrap();
        layer.ready().await.unwrap();
        layer.into()
    }
}

mod core {
    conformance_tests::every_layer!(super::Core);
    conformance_tests::moved_clock!(super::Core, "Redis has a clock of its own");
    conformance_tests::stored!(super::Core);
    conformance_tests::processes!(super::Core);
    conformance_tests::shared!(super::Core);
    conformance_tests::workers!(super::Core);
}
