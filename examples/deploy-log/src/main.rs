//! A console for deployments: everyone who watches a deployment reads its output, line by line.
//!
//! Run with `cargo run -p deploy-log`, and open http://127.0.0.1:8000/ in several windows. Everyone who
//! reaches the page may start and cancel. If not everyone may, put an `AuthMiddleware` around the route. A page of another
//! site may not: `AllowedHosts` keeps it out even if its name stands for the address of this server.

mod deployments;
mod desk;
mod pages;
mod process;

use clap::{Parser, builder::RangedU64ValueParser};
use examples_shared::{Failure, Listen};
use greenroom::{
    Layer, Limits, MemoryLayer, Server, middleware::AllowedHosts, prelude::*, routing::ProtocolTypeRouter,
};

use crate::{
    deployments::{Deployments, Plan},
    desk::Desk,
};

/// A console for deployments, with their output for everyone who watches.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    listen: Listen,
    /// How many deployments run at once; the others wait in a queue.
    #[arg(long, default_value_t = 2, value_parser = RangedU64ValueParser::<usize>::new().range(1..=8))]
    parallel: usize,
}

/// All that can be deployed. A page only sends the name of a plan. It cannot choose what runs.
const PLANS: &[Plan] = &[
    Plan { name: "website", script: include_str!("../scripts/website.sh") },
    Plan { name: "database", script: include_str!("../scripts/database.sh") },
    Plan { name: "search", script: include_str!("../scripts/search.sh") },
];

fn application(deployments: &Deployments, hosts: &[String]) -> ProtocolTypeRouter {
    let deployments = deployments.clone();
    // A page may open every log at once.
    let limits = Limits::new().outbox_size(16 << 20);
    let websocket = UrlRouter::new()
        .route_with("/deployments/", limits, move |_: &Scope| Ok(Desk::new(&deployments)))
        .wrap(AllowedHosts::new(hosts));
    ProtocolTypeRouter::new().websocket(websocket).http(pages::configure)
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    examples_shared::log();

    let layer = Layer::from(MemoryLayer::new());
    let deployments = Deployments::new(layer.clone(), PLANS);
    let application = application(&deployments, &options.listen.allow_host);
    let server = Server::new(application)?.layer(layer).threads(options.listen.threads);
    let server = server.bind(&options.listen.bind).map_err(|error| Failure::of("--bind", error))?;
    println!("listening on http://{}", server.addresses()[0]);
    let runners: Vec<_> =
        (0..options.parallel).map(|_| actix_web::rt::spawn(deployments.clone().run_queue())).collect();
    let ended = server.run().await;
    // No deployment outlives the program that shows it.
    deployments.end();
    for runner in runners {
        runner.await?;
    }
    Ok(ended?)
}

#[cfg(test)]
mod tests;
