//! The Rust half of a chat whose other half is a Django project: one room, one Redis between them.
//!
//! `examples/django-interop/run` starts both, and Redis. This half alone is `cargo run -p django-interop`.

mod chat;
mod pages;

use std::io::IsTerminal;

use greenroom::{Layer, Server, prelude::*, routing::ProtocolTypeRouter};

use crate::chat::Chat;

/// The Rust half of a chat that it shares with a Django project.
#[derive(clap::Parser)]
#[command(version)]
struct Options {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8001")]
    bind: String,
    /// The Redis of Django's CHANNEL_LAYERS: redis://host:port, or redis-pubsub://host:port where its backend is the pub/sub
    /// layer; memory is for this process alone.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    layer: String,
}

/// What routing.py and asgi.py say on the other side. Pages of other sites may not connect: that is the default.
fn application(layer: Layer) -> ProtocolTypeRouter {
    let sockets = UrlRouter::new().route("/ws/chat/{room:[A-Za-z0-9_-]{1,80}}/", Chat::new);
    ProtocolTypeRouter::new().websocket(sockets).http(move |config| pages::configure(config, layer.clone()))
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
    let server = Server::new(application(layer.clone()))?
        .layer(layer.clone())
        .bind(&options.bind)
        .map_err(|error| format!("{error}; choose another with --bind"))?;
    println!("listening on http://{}", server.addresses()[0]);
    let ended = server.run().await;
    // Otherwise Django writes to a process that has ended, until its names in Redis expire.
    layer.close().await;
    Ok(ended?)
}

#[cfg(test)]
mod tests;
