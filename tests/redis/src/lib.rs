//! Redis servers of the tests' own, Python processes with channels_redis, and what the tests of the layers share.

mod chat;
pub mod cli;
mod members;
mod process;
mod proxy;
mod python;
mod server;

pub use self::{
    chat::{Chat, Page, program},
    members::{Member, Note, group, note},
    process::{ServerProcess, free_port},
    proxy::{Proxy, Slow},
    python::Python,
    server::RedisServer,
};

use std::time::Duration;

use integration_tests::PATIENCE;
use tokio::time::{sleep, timeout};

/// Waits until something is so.
///
/// # Panics
/// Where it is not so in time.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
