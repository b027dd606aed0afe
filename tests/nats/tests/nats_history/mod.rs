//! The logs of groups in JetStream.

mod cluster;
mod outages;
mod processes;
mod settings;

use std::time::Duration;

use conformance_tests::history::{Process, policy, texts};
use greenroom::{
    LayerConfig,
    history::History,
    layers::nats::{NatsConfig, NatsLayer},
};
use integration_tests::{PATIENCE, history::Reader};
use nats_tests::NatsServer;
use redis_tests::note;
use serde_json::json;
use tokio::time::timeout;

async fn start(config: NatsConfig) -> Process {
    let layer = NatsLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    Process::of(layer.into())
}

fn config_of(server: &NatsServer, history: History) -> NatsConfig {
    let layer = LayerConfig::new().history("room*", history);
    NatsConfig::new(server.url()).layer(layer).timeout(Duration::from_secs(2))
}

fn config(server: &NatsServer) -> NatsConfig {
    config_of(server, policy())
}
