//! Finds the master that sentinels watch.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::Client;
use tokio::time::timeout;

use super::{
    hello::Hello,
    hosts::RedisUrl,
    link::{open, within},
};

/// Asks all sentinels at once for the master of this name, and gives a client of the first that is a master.
///
/// `master` says how it is reached, except for its address.
pub(super) async fn master(
    name: &str,
    sentinels: &[RedisUrl],
    master: &RedisUrl,
    patience: Duration,
) -> Result<Client, String> {
    let ask = |sentinel| async move {
        let found = timeout(patience, master_of(name, sentinel, master, patience)).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer in {patience:?}")));
        found.map_err(|reason| format!("the sentinel {}: {reason}", sentinel.address()))
    };
    let mut asked: FuturesUnordered<_> = sentinels.iter().map(ask).collect();
    let mut reasons = Vec::new();
    while let Some(found) = asked.next().await {
        match found {
            Ok(client) => return Ok(client),
            Err(reason) => reasons.push(reason),
        }
    }
    // In another order they would be logged as another reason.
    reasons.sort();
    Err(reasons.join("; "))
}

async fn master_of(
    name: &str,
    sentinel: &RedisUrl,
    master: &RedisUrl,
    patience: Duration,
) -> Result<Client, String> {
    let mut connection = open(&sentinel.client()?, patience, patience).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let place: Option<(String, u16)> = within(patience, ask.query_async(&mut connection)).await?;
    let Some((host, port)) = place else { return Err(format!("it knows no master {name:?}")) };
    let client = master.client_at(host.clone(), port)?;
    let checked = async {
        let mut connection = open(&client, patience, patience).await?;
        // A sentinel that was cut off may still name a server that has become a replica.
        let hello = within(patience, Hello::ask(&mut connection)).await?;
        if hello.is_replica() { Err("it is a replica".to_owned()) } else { Ok(()) }
    };
    checked.await.map_err(|reason| format!("its master {host}:{port}: {reason}"))?;
    Ok(client)
}
