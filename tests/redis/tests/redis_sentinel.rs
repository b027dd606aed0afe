//! The conformance suite over both layers, through a sentinel.
//!
//! channels_redis does the same in `test_sentinel.py` and `test_pubsub_sentinel.py`.

use std::marker::PhantomData;

use conformance_tests::Server;
use greenroom::{Layer, LayerConfig, layers::redis::RedisConfig};
use redis_tests::{
    RedisServer,
    kinds::{self, Kind},
};

/// A master, and a sentinel that knows its address.
struct Sentinel<K> {
    sentinel: RedisServer,
    _master: RedisServer,
    _kind: PhantomData<K>,
}

impl<K: Kind> Server for Sentinel<K> {
    const STORES: bool = !K::IS_PUBSUB;

    async fn start() -> Self {
        let master = RedisServer::start();
        Self { sentinel: RedisServer::sentinel(&master), _master: master, _kind: PhantomData }
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let config = RedisConfig::sentinel("mymaster", [self.sentinel.url()], None).layer(config);
        let (layer, ready) = K::open(config).await;
        ready.unwrap();
        layer
    }
}

type Core = Sentinel<kinds::Core>;

mod core {
    conformance_tests::every_layer!(super::Core);
    conformance_tests::stored!(super::Core);
    conformance_tests::processes!(super::Core);
    conformance_tests::shared!(super::Core);
}

type PubSub = Sentinel<kinds::PubSub>;

mod pubsub {
    conformance_tests::every_layer!(super::PubSub);
    conformance_tests::processes!(super::PubSub);
}
