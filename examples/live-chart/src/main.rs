//! Bars and a pie that move with the data of a running job, on every page that is open.
//!
//! Run with `cargo run -p live-chart`, and open http://127.0.0.1:8000/. The events do not come from consumers: a timer sends
//! them, and so does a handler of HTTP posts. Try
//! `curl -H 'Content-Type: application/json' -d '{"name":"Shop","add":100}' http://127.0.0.1:8000/data`.

mod chart;
mod pages;

use std::time::Duration;

use clap::Parser;
use examples_shared::{Failure, Listen};
use greenroom::{
    Layer, MemoryLayer, Server, middleware::AllowedHosts, prelude::*, routing::ProtocolTypeRouter,
};

use crate::chart::{Chart, Viewer};

/// Bars and a pie that move with the data of a running job.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    listen: Listen,
}

/// The routes. A page of another site can let its name stand for this server, so the names of this server are listed.
fn application(chart: &Chart, hosts: &[String]) -> ProtocolTypeRouter {
    let (viewed, changed, hosts) = (chart.clone(), chart.clone(), AllowedHosts::new(hosts));
    let websocket =
        UrlRouter::new().route("/chart/", move |_: &Scope| Ok(Viewer::new(&viewed))).wrap(hosts.clone());
    ProtocolTypeRouter::new()
        .websocket(websocket)
        .http(move |config| pages::configure(config, &changed, hosts.clone()))
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    examples_shared::log();

    // The job and the HTTP handler send through this layer, and the server uses the same one for the viewers.
    let layer = Layer::from(MemoryLayer::new());
    let chart = Chart::new(layer.clone());
    let application = application(&chart, &options.listen.allow_host);
    let server = Server::new(application)?.layer(layer).threads(options.listen.threads);
    let server = server.bind(&options.listen.bind).map_err(|error| Failure::of("--bind", error))?;
    println!("listening on http://{}", server.addresses()[0]);
    actix_web::rt::spawn(chart::job(chart, Duration::from_millis(500)));
    Ok(server.run().await?)
}

#[cfg(test)]
mod tests;
