//! Bars and a pie that move with the data of a running job, on every page that is open.
//!
//! Run with `cargo run -p live-chart`, and open http://127.0.0.1:8000/. No consumer sends what the pages show: a timer
//! does, and whoever posts, as
//! `curl -H 'Content-Type: application/json' -d '{"name":"Shop","add":100}' http://127.0.0.1:8000/data`.

mod chart;
mod pages;

use std::{io::IsTerminal, time::Duration};

use greenroom::{Layer, MemoryLayer, Server, prelude::*, routing::ProtocolTypeRouter};

use crate::chart::{Chart, Viewer};

/// Bars and a pie that move with the data of a running job.
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

fn application(chart: &Chart) -> ProtocolTypeRouter {
    let (viewed, changed) = (chart.clone(), chart.clone());
    let websocket = UrlRouter::new().route("/chart/", move |_: &Scope| Ok(Viewer::new(&viewed)));
    ProtocolTypeRouter::new().websocket(websocket).http(move |config| pages::configure(config, &changed))
}

#[actix_web::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let options = <Options as clap::Parser>::parse();
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();

    // Made here, and not by the server: the job and the HTTP handler send by it, and the viewers listen to it.
    let layer = Layer::from(MemoryLayer::new());
    let chart = Chart::new(layer.clone());
    let server = Server::new(application(&chart))?.layer(layer);
    let server = match options.workers {
        Some(workers) => server.threads(workers.get()),
        None => server,
    };
    let server =
        server.bind(&options.bind).map_err(|error| format!("{error}; choose another with --bind"))?;
    println!("listening on http://{}", server.addresses()[0]);
    actix_web::rt::spawn(chart::job(chart, Duration::from_millis(500)));
    Ok(server.run().await?)
}

#[cfg(test)]
mod tests;
