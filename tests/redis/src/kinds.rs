//! The kinds of layers on Redis, for the conformance suites.

use std::marker::PhantomData;

use conformance_tests::{
    Server,
    faulty::{FaultyServer, Logins, Proxy, ServerProcess, Settings},
    history::LogServer,
};
use greenroom::{
    Layer, LayerConfig, LayerError,
    history::History,
    layers::{
        Away,
        redis::{Names, RedisConfig, RedisLayer, RedisPubSubLayer},
    },
};

use crate::RedisServer;

/// The keys of the log of the group `room`: its state, and its entries.
pub const LOG_STATE: &str = "asgi:gr:m:room";
/// See [`LOG_STATE`].
pub const LOG_ENTRIES: &str = "asgi:gr:l:room";

/// A kind of layer on Redis.
#[expect(async_fn_in_trait, reason = "a case runs on one thread")]
pub trait Kind {
    /// Whether this is the pub/sub layer: Redis then stores nothing, and sends each event back to its sender.
    const IS_PUBSUB: bool = false;

    /// Whether each group keeps its events.
    const KEEPS_EVENTS: bool = false;

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

/// `RedisLayer`, and each group keeps its events.
#[derive(Debug)]
pub struct LoggedCore;

impl Kind for LoggedCore {
    const KEEPS_EVENTS: bool = true;

    async fn open(config: RedisConfig) -> (Layer, Result<(), LayerError>) {
        Core::open(config.history("*", History::last(10_000))).await
    }
}

/// `RedisPubSubLayer`, and each group keeps its events.
#[derive(Debug)]
pub struct LoggedPubSub;

impl Kind for LoggedPubSub {
    const IS_PUBSUB: bool = true;
    const KEEPS_EVENTS: bool = true;

    async fn open(config: RedisConfig) -> (Layer, Result<(), LayerError>) {
        PubSub::open(config.history("*", History::last(10_000))).await
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
    const KEEPS_EVENTS: bool = K::KEEPS_EVENTS;
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
        K::open(config_of(&settings)).await
    }

    fn cut(&mut self, _: &Proxy) {
        let clients = if K::IS_PUBSUB { "pubsub" } else { "normal" };
        self.0.run::<u64>(&["CLIENT", "KILL", "TYPE", clients]);
    }

    fn assert_left(&mut self) {
        assert_eq!(self.0.run::<u64>(&["DBSIZE"]), 0, "no key is left in Redis");
    }
}

impl<K: Kind> LogServer for Redis<K> {
    /// The keys, as Redis dumps them.
    type Copy = Vec<(&'static str, Vec<u8>)>;

    fn start() -> Self {
        Self(RedisServer::start(), PhantomData)
    }

    fn process(&mut self) -> &mut ServerProcess {
        &mut self.0
    }

    async fn open(settings: Settings, config: LayerConfig) -> Layer {
        let (layer, ready) = K::open(config_of(&settings).layer(config)).await;
        ready.expect("the layer connects");
        layer
    }

    async fn delete_log(&mut self) {
        assert_eq!(self.0.run::<u64>(&["DEL", LOG_STATE, LOG_ENTRIES]), 2);
    }

    async fn delete_entries(&mut self) {
        assert_eq!(self.0.run::<u64>(&["DEL", LOG_ENTRIES]), 1);
    }

    async fn copy(&mut self) -> Self::Copy {
        [LOG_STATE, LOG_ENTRIES].map(|key| (key, self.0.run(&["DUMP", key]))).into_iter().collect()
    }

    async fn go_back(&mut self, copy: Self::Copy) {
        for (key, dump) in copy {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(key).arg(0).arg(dump).arg("REPLACE");
            let done: redis::Value = restore.query(&mut self.0.connect()).expect("the key is replaced");
            assert_eq!(done, redis::Value::Okay);
        }
    }

    async fn lose_all(&mut self) {
        self.0.restart();
    }
}

fn config_of(settings: &Settings) -> RedisConfig {
    RedisConfig::new(settings.url("redis"))
        .away(if settings.must { Away::Error } else { Away::Local })
        .timeout(settings.timeout)
        .queue_bytes(settings.queue_bytes)
}
