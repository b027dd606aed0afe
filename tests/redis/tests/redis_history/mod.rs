//! The logs of groups on Redis: over both kinds of layers.

mod foreign;
mod losses;
mod processes;
mod quiet;

use std::time::Duration;

use conformance_tests::history::{Hint, Process, policy, texts};
use greenroom::{history::History, layers::redis::RedisConfig};
use redis_tests::{
    RedisServer, group,
    kinds::{Kind, LOG_ENTRIES as ENTRIES, LOG_STATE as STATE},
    note,
};

/// Makes a test for each kind of layer of cases that are functions of a kind.
macro_rules! both {
    ($($(#[doc = $doc:literal])* $case:ident,)*) => {
        mod core { $($(#[doc = $doc])* #[actix_web::test] async fn $case() { super::$case::<redis_tests::kinds::Core>().await; })* }
        mod pubsub { $($(#[doc = $doc])* #[actix_web::test] async fn $case() { super::$case::<redis_tests::kinds::PubSub>().await; })* }
    };
}
use both;

/// Starts a process with a layer of a kind.
trait Start: Sized {
    async fn start<K: Kind>(config: RedisConfig) -> Self;
}

impl Start for Process {
    async fn start<K: Kind>(config: RedisConfig) -> Self {
        let (layer, ready) = K::open(config).await;
        ready.unwrap();
        Self::of(layer)
    }
}

fn config(url: &str) -> RedisConfig {
    RedisConfig::new(url).history("room*", policy()).timeout(Duration::from_secs(1))
}

/// Two processes on one server.
async fn two<K: Kind>(server: &RedisServer) -> (Process, Process) {
    (Process::start::<K>(config(&server.url())).await, Process::start::<K>(config(&server.url())).await)
}
