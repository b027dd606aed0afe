//! The conformance suite over `RedisPubSubLayer`.

use conformance_tests::{
    Server,
    faulty::{FaultyServer, Logins, Proxy, ServerProcess, Settings},
};
use greenroom::{
    Layer, LayerConfig, LayerError,
    layers::redis::{RedisConfig, RedisPubSubLayer},
};
use redis_tests::{LOGINS, RedisServer, configured};

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

impl FaultyServer for PubSub {
    const NAME: &'static str = "Redis";
    const ECHOES: bool = true;
    const TELLS_DROPS: bool = false;
    const LOGINS: Logins = LOGINS;

    fn start() -> Self {
        Self(RedisServer::start())
    }

    fn guarded() -> Self {
        Self(RedisServer::guarded())
    }

    fn process(&mut self) -> &mut ServerProcess {
        &mut self.0
    }

    async fn open(settings: Settings) -> (Layer, Result<(), LayerError>) {
        let layer = RedisPubSubLayer::new(configured(settings)).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    }

    fn cut(&mut self, _: &Proxy) {
        self.0.run::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }

    fn assert_left(&mut self) {
        self.0.assert_empty();
    }
}

mod pubsub {
    conformance_tests::every_layer!(super::PubSub);
    conformance_tests::moved_clock!(super::PubSub, "its echo needs Redis' own time");
    conformance_tests::stored!(super::PubSub, "pub/sub keeps nothing for who does not listen");
    conformance_tests::processes!(super::PubSub);
    conformance_tests::shared!(super::PubSub, "pub/sub keeps nothing, and knows no groups");
    conformance_tests::workers!(super::PubSub, "each process that listens gets each job");
    conformance_tests::faults!(super::PubSub);
    conformance_tests::drops!(super::PubSub);
}
