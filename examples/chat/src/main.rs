//! A chat room: a page, and on the same path a WebSocket.
//!
//! Run with `cargo run -p chat`, open http://127.0.0.1:8000/ in several windows, and talk.

mod pages;
mod room;

use std::io::IsTerminal;

use greenroom::{Server, prelude::*, routing::ProtocolTypeRouter};

use crate::room::{Chat, Rooms};

/// A chat room for everyone who opens its page.
#[derive(clap::Parser)]
#[command(version)]
struct Options {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8000")]
    bind: String,
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

    let server = Server::new(application())?;
    let server = match options.workers {
        Some(workers) => server.workers(workers.get()),
        None => server,
    };
    let server =
        server.bind(&options.bind).map_err(|error| format!("{error}; choose another with --bind"))?;
    println!("listening on http://{}", server.addresses()[0]);
    Ok(server.run().await?)
}

#[cfg(test)]
mod tests;
