//! A chat room: a page, and a WebSocket on the same path.
//!
//! Run with `cargo run -p chat`, open http://127.0.0.1:8000/ in several windows, and talk.

mod pages;
mod room;

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use examples_shared::{Failure, Listen};
use greenroom::{
    Layer, LayerConfig, Server,
    history::History,
    layers::{OpenError, OpenOptions},
    middleware::AllowedHosts,
    prelude::*,
    routing::ProtocolTypeRouter,
};

use crate::room::{Chat, Rooms};

/// A chat room for everyone who opens its page.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    listen: Listen,
    /// The layer of the rooms. memory: rooms are for this process alone. nats://host:port, redis://host:port or
    /// redis-pubsub://host:port: all programs on the same server share them, on Redis also Django.
    #[arg(long, default_value = "memory")]
    layer: String,
    /// The file in which the rooms of the layer `memory` outlive a restart: then nobody misses anything. The other layers
    /// do not need it.
    #[arg(long, value_name = "PATH")]
    history_file: Option<PathBuf>,
}

/// The settings of the layer: each room keeps its last messages for an hour.
///
/// So nobody misses what is said while they are away, and who comes late sees what was said last.
fn config() -> LayerConfig {
    LayerConfig::new().history("chat_*", History::last(100).within(Duration::from_secs(3_600)))
}

/// The routes. A page of another site can let its name stand for this server, so the names of this server are listed.
fn application(hosts: &[String]) -> ProtocolTypeRouter {
    let rooms = Rooms::default();
    let websocket = UrlRouter::new()
        .route("/room/{room:[A-Za-z0-9_-]{1,80}}/", move |scope: &Scope| Chat::new(scope, &rooms))
        .wrap(AllowedHosts::new(hosts));
    ProtocolTypeRouter::new().websocket(websocket).http(pages::configure)
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    examples_shared::log();

    let mut settings = OpenOptions::new().layer(config());
    if let Some(path) = options.history_file {
        settings = settings.history_file(path);
    }
    let layer = Layer::open_with(&options.layer, settings).await.map_err(|error| match error {
        OpenError::HistoryFile(error) => Failure::of("--history-file", error),
        error => Failure::of("--layer", error),
    })?;
    let server = Server::new(application(&options.listen.allow_host))?
        .layer(layer.clone())
        .threads(options.listen.threads);
    let server = server.bind(&options.listen.bind).map_err(|error| Failure::of("--bind", error))?;
    println!("listening on http://{}", server.addresses()[0]);
    let ended = server.run().await;
    layer.close().await;
    Ok(ended?)
}

#[cfg(test)]
mod tests;
