//! The Rust half of a chat. The other half is a Django project, and both share one room over one Redis.
//!
//! `examples/django-interop/run` starts both, and Redis. This half alone is `cargo run -p django-interop`.

mod chat;
mod pages;

use clap::Parser;
use examples_shared::{Failure, Listen};
use greenroom::{Layer, Server, middleware::AllowedHosts, prelude::*, routing::ProtocolTypeRouter};

use crate::chat::Chat;

/// The Rust half of a chat. The other half is a Django project.
#[derive(Parser)]
#[command(version, mut_arg("bind", |bind| bind.default_value("127.0.0.1:8001")))]
struct Options {
    #[command(flatten)]
    listen: Listen,
    /// The Redis of Django's CHANNEL_LAYERS: redis://host:port, or redis-pubsub://host:port if its backend is the pub/sub
    /// layer. memory is for this process alone.
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    layer: String,
}

/// The routes, which Django has in routing.py and asgi.py, and its ALLOWED_HOSTS. By default, pages of other sites may not
/// connect.
fn application(layer: Layer, hosts: &[String]) -> ProtocolTypeRouter {
    let sockets = UrlRouter::new()
        .route("/ws/chat/{room:[A-Za-z0-9_-]{1,80}}/", Chat::new)
        .wrap(AllowedHosts::new(hosts));
    ProtocolTypeRouter::new().websocket(sockets).http(move |config| pages::configure(config, layer.clone()))
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    examples_shared::log();

    let layer = Layer::open(&options.layer).await.map_err(|error| Failure::of("--layer", error))?;
    let application = application(layer.clone(), &options.listen.allow_host);
    let server = Server::new(application)?.layer(layer.clone()).threads(options.listen.threads);
    let server = server.bind(&options.listen.bind).map_err(|error| Failure::of("--bind", error))?;
    println!("listening on http://{}", server.addresses()[0]);
    let ended = server.run().await;
    // Without this, Django would write to the ended process until its names in Redis expire.
    layer.close().await;
    Ok(ended?)
}

#[cfg(test)]
mod tests;
