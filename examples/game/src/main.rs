//! A game: up to 60 players catch sparks in one arena, and everyone else can watch.
//!
//! Run with `cargo run -p game`, and open http://127.0.0.1:8000/ in several windows. The arena is a room with state: it is
//! made for the first person who enters, moves 20 times a second, and ends when the last one has left.
//!
//! One thread carried 32 arenas of 60 players at 20 Hz, 38,400 deliveries a second: each player got 20.0 snapshots a second,
//! and 99 % of the gaps between them were at most 69 ms. That took 332 ms of CPU time a second, 8.6 µs for a delivery, and
//! 3.5 kB for each player. By this CPU time there is room for about 90 arenas; the thread did not get more than half of a CPU,
//! because the machine (AMD EPYC, 2 cores) did other work. `tests/load/rooms` measures it.

mod arena;
mod pages;
mod person;

use clap::Parser;
use examples_shared::{Failure, Listen};
use greenroom::{
    Limits, Overflow, Rooms, Server, middleware::AllowedHosts, prelude::*, routing::ProtocolTypeRouter,
};

use crate::{arena::Arena, person::Person};

/// Up to 60 players catch sparks in one arena, and everyone else can watch.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    listen: Listen,
}

/// The routes. A page of another site can let its name stand for this server, so the names of this server are listed.
fn application(hosts: &[String]) -> ProtocolTypeRouter {
    let arenas = Rooms::new(|_| Arena::default()).limit(1_000);
    let person = move |scope: &Scope| Ok(Person(arenas.room(scope.param("arena")?)));
    let websocket =
        UrlRouter::new().route("/game/{arena:[A-Za-z0-9_-]{1,40}}/", person).wrap(AllowedHosts::new(hosts));
    ProtocolTypeRouter::new().websocket(websocket).http(pages::configure)
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    examples_shared::log();

    // What people say is short. A client that reads slowly gets the newest places.
    let limits = Limits::new().message_size(4 << 10).overflow(Overflow::Latest);
    let application = application(&options.listen.allow_host);
    let server = Server::new(application)?.limits(limits).threads(options.listen.threads);
    let server = server.bind(&options.listen.bind).map_err(|error| Failure::of("--bind", error))?;
    println!("listening on http://{}", server.addresses()[0]);
    Ok(server.run().await?)
}

#[cfg(test)]
mod tests;
