//! A chat room: a page, and on the same path a WebSocket.
//!
//! Run with `cargo run -p chat`, open http://127.0.0.1:8000/ in several windows, and talk.

mod pages;
mod room;

use std::io::IsTerminal;

use greenroom::{Layer, Server, prelude::*, routing::ProtocolTypeRouter};

use crate::room::{Chat, Rooms};

/// A chat room for everyone who opens its page.
#[derive(clap::Parser)]
#[command(version)]
struct Options {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8000")]
    bind: String,
    /// What the rooms are shared by: memory, for this process; nats://host:port, redis://host:port or redis-pubsub://host:port,
    /// for all that use the same server, Django's included in those of Redis.
    #[arg(long, default_value = "memory")]
    layer: String,
    /// How many worker threads to run; by default one a core.
    #[arg(long)]
    workers: Option<std::num::NonZeroUsize>,
}

fn application() -> ProtocolTypeRouter {
    let rooms = Rooms::default();
    let websocket = UrlRouter::new()
        .route("/room/{room:[A-Za-z0-9_-]{1,80}}/", move |scope: &Scope| Chat::new(scope, &rooms));
    ProtocolTypeRouter::new().websocket(websocket).http(pages::configure)
}

#[actix_web::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let options = <Options as clap::Parser>::parse();
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();

    let layer =
        Layer::open(&options.layer).await.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("--layer: {error}: {cause}"),
            None => format!("--layer: {error}"),
        })?;
    let server = Server::new(application())?.layer(layer.clone());
    let server = match options.workers {
        Some(workers) => server.threads(workers.get()),
        None => server,
    };
    let server =
        server.bind(&options.bind).map_err(|error| format!("{error}; choose another with --bind"))?;
    println!("listening on http://{}", server.addresses()[0]);
    let ended = server.run().await;
    layer.close().await;
    Ok(ended?)
}

#[cfg(test)]
mod tests;
