//! The conformance suite over `RedisLayer`.

use conformance_tests::{
    Server,
    faulty::{FaultyServer, Logins, Proxy, ServerProcess, Settings},
};
use greenroom::{
    Layer, LayerConfig, LayerError,
    layers::redis::{RedisConfig, RedisLayer},
};
use redis_tests::{LOGINS, RedisServer, configured};

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

impl FaultyServer for Core {
    const NAME: &'static str = "Redis";
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
        let layer = RedisLayer::new(configured(settings)).unwrap();
        let ready = layer.ready().await;
        (layer.into(), ready)
    }

    fn cut(&mut self, _: &Proxy) {
        self.0.run::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    }

    fn assert_left(&mut self) {
        self.0.assert_empty();
    }
}

mod core {
    conformance_tests::every_layer!(super::Core);
    conformance_tests::moved_clock!(super::Core, "Redis has a clock of its own");
    conformance_tests::stored!(super::Core);
    conformance_tests::processes!(super::Core);
    conformance_tests::shared!(super::Core);
    conformance_tests::workers!(super::Core);
    conformance_tests::faults!(super::Core);
    conformance_tests::drops!(super::Core, "what is too much waits in Redis");
}
