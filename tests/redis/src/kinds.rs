//! The kinds of layers on Redis, for the conformance suites.

use std::marker::PhantomData;

use conformance_tests::{
    Server,
    faulty::{FaultyServer, Logins, Proxy, ServerProcess, Settings},
};
use greenroom::{
    Layer, LayerConfig, LayerError,
    layers::{
        Away,
        redis::{Names, RedisConfig, RedisLayer, RedisPubSubLayer},
    },
};

use crate::RedisServer;

/// A kind of layer on Redis.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait Kind {
    /// Whether this is the pub/sub layer: Redis then stores nothing, and sends each event back to its sender.
    const IS_PUBSUB: bool = false;

    /// Makes a layer. Returns it with the result of its first attempt to connect.
    async fn open(config: RedisConfig) -> (Layer, Result<(), LayerError>);
}

/// `RedisLayer`.
#[derive(Debug)]
pub struct Core;

impl Kind for Core {
    async fn open(config: RedisConfig) -> (Layer, Result<(), LayerError>) {
        let layer = RedisLayer::new(config).expect("a good URL");
        let ready = layer.ready().await;
        (layer.into(), ready)
    }
}

/// `RedisLayer`, with a name for each connection.
#[derive(Debug)]
pub struct Connections;

impl Kind for Connections {
    async fn open(config: RedisConfig) -> (Layer, Result<(), LayerError>) {
        Core::open(config.names(Names::Connection)).await
    }
}

/// `RedisPubSubLayer`.
#[derive(Debug)]
pub struct PubSub;

impl Kind for PubSub {
    const IS_PUBSUB: bool = true;

    async fn open(config: RedisConfig) -> (Layer, Result<(), LayerError>) {
        let layer = RedisPubSubLayer::new(config).expect("a good URL");
        let ready = layer.ready().await;
        (layer.into(), ready)
    }
}

/// A Redis server with layers of one kind.
#[derive(Debug)]
pub struct Redis<K>(RedisServer, PhantomData<K>);

impl<K: Kind> Server for Redis<K> {
    const STORES: bool = !K::IS_PUBSUB;

    async fn start() -> Self {
        Self(RedisServer::start(), PhantomData)
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        let (layer, ready) = K::open(RedisConfig::new(self.0.url()).layer(config)).await;
        ready.expect("the layer connects");
        layer
    }
}

impl<K: Kind> FaultyServer for Redis<K> {
    const NAME: &'static str = "Redis";
    const ECHOES: bool = K::IS_PUBSUB;
    const TELLS_DROPS: bool = false;
    const LOGINS: Logins = Logins {
        guest: ":right@",
        strangers: &["", ":wrong@"],
        denied: &["uthentication", "NOAUTH", "WRONGPASS"],
    };

    fn start() -> Self {
        Self(RedisServer::start(), PhantomData)
    }

    fn guarded() -> Self {
        Self(RedisServer::with(&["--requirepass", "right"]), PhantomData)
    }

    fn process(&mut self) -> &mut ServerProcess {
        &mut self.0
    }

    async fn open(settings: Settings) -> (Layer, Result<(), LayerError>) {
        let config = RedisConfig::new(settings.url("redis"))
            .away(if settings.must { Away::Error } else { Away::Local })
            .timeout(settings.timeout)
            .queue_bytes(settings.queue_bytes);
        K::open(config).await
    }

    fn cut(&mut self, _: &Proxy) {
        let clients = if K::IS_PUBSUB { "pubsub" } else { "normal" };
        self.0.run::<u64>(&["CLIENT", "KILL", "TYPE", clients]);
    }

    fn assert_left(&mut self) {
        assert_eq!(self.0.run::<u64>(&["DBSIZE"]), 0, "no key is left in Redis");
    }
}
