//! The server of the measurements. `/room/{room}/` sends each text unchanged to everyone in the room, the sender included.
//! `/send/` takes texts of a room's name, a space and a message, sends the message to the room, and answers `ok`. `/echo/`
//! sends text and binary messages back.
//!
//! Run with `cargo run --release -p load-server -- --port 9000 --threads 1 --host mounted --fan-out relay`.

use std::time::Duration;

use actix_web::{App, HttpServer};
use bytestring::ByteString;
use clap::{Parser, ValueEnum, builder::RangedU64ValueParser};
use greenroom::{
    Deflate, Fallback, Flush, Layer, LayerConfig, Limits, Mount, Server, history::History,
    layers::OpenOptions, middleware::AllowedHostsOriginValidator, prelude::*,
};
use serde::{Deserializer, Serializer};

/// Serves rooms and an echo, with plain texts, to measure greenroom.
#[derive(Parser)]
struct Options {
    /// The port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// How many threads the server has.
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=512))]
    threads: usize,
    /// Which host takes the connections.
    #[arg(long, value_enum, default_value_t = Host::Mounted)]
    host: Host,
    /// Write every so many milliseconds, instead of every turn.
    #[arg(long)]
    flush: Option<u64>,
    /// Write every so many milliseconds while the thread is behind.
    #[arg(long, conflicts_with = "flush")]
    adaptive: Option<u64>,
    /// The layer of the rooms: memory, nats://…, redis://…, redis-pubsub://….
    #[arg(long, default_value = "memory")]
    layer: String,
    /// The rooms whose names fit this pattern keep their events.
    #[arg(long)]
    history: Option<String>,
    /// How many events such a room keeps.
    #[arg(long, default_value_t = 100)]
    keep: usize,
    /// The file that keeps the events while the process is replaced, for the layer in memory.
    #[arg(long)]
    history_file: Option<std::path::PathBuf>,
    /// A message fails that the layer's server does not take.
    #[arg(long)]
    must_publish: bool,
    /// How a room's members get an event.
    #[arg(long, value_enum, default_value_t = FanOut::Relay)]
    fan_out: FanOut,
    /// Compress with context takeover in both directions, if a client offers it.
    #[arg(long)]
    takeover: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Host {
    /// Inside an actix-web App.
    Mounted,
    /// On sockets of its own.
    Direct,
}

#[derive(Clone, Copy, ValueEnum)]
enum FanOut {
    /// The bytes are made once and shared.
    Relay,
    /// Every member's handler runs.
    Handler,
}

/// A text that one member sends to its room.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("said")]
struct Said {
    #[serde(serialize_with = "write_text", deserialize_with = "read_text")]
    text: ByteString,
}

fn write_text<S: Serializer>(text: &ByteString, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn read_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<ByteString, D::Error> {
    String::deserialize(deserializer).map(ByteString::from)
}

async fn say(room: &GroupName, message: Message, ctx: &Context) -> Result<()> {
    if let Message::Text(text) = message {
        ctx.group_send(room, Said { text }).await?;
    }
    Ok(())
}

struct Relayed(GroupName);

impl Consumer for Relayed {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        say(&self.0, message, ctx).await
    }
}

#[event_handlers]
impl Relayed {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

struct Handled(GroupName);

impl Consumer for Handled {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        say(&self.0, message, ctx).await
    }
}

#[event_handlers]
impl Handled {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.text.clone())
    }
}

/// Sends to all rooms, and says when it has.
#[derive(NoEvents)]
struct Teller;

impl Consumer for Teller {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?;
        let (room, text) = text.split_once(' ').unwrap_or((text, ""));
        let said = ctx.group_send(&room.parse()?, Said { text: text.into() }).await;
        ctx.send_text(said.map_or_else(|error| error.to_string(), |()| "ok".to_owned()))
    }
}

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message {
            Message::Text(text) => ctx.send_text(text),
            Message::Binary(bytes) => ctx.send_bytes(bytes),
        }
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    // 10,000 connections need more than the usual 1,024 files.
    rlimit::increase_nofile_limit(u64::MAX)?;

    let rooms = UrlRouter::new();
    let rooms = match options.fan_out {
        FanOut::Relay => rooms.route("/room/{room}/", |scope: &Scope| Ok(Relayed(scope.param("room")?))),
        FanOut::Handler => rooms.route("/room/{room}/", |scope: &Scope| Ok(Handled(scope.param("room")?))),
    };
    let flush = match (options.flush, options.adaptive) {
        (Some(every), _) => Flush::Every(Duration::from_millis(every)),
        (_, Some(every)) => Flush::WhenBehind(Duration::from_millis(every)),
        _ => Flush::Turn,
    };
    let deflate =
        Deflate::new().server_context_takeover(options.takeover).client_context_takeover(options.takeover);
    let limits = Limits::new().message_size(16 << 20).outbox_size(64 << 20).flush(flush).deflate(deflate);
    let routes = rooms.route("/echo/", |_: &Scope| Ok(Echo)).route("/send/", |_: &Scope| Ok(Teller));
    let routes = routes.wrap(AllowedHostsOriginValidator::new(["*"]));
    // All clients have one address.
    let fallback = Fallback::new().connections_per_peer(None);
    let mut config = LayerConfig::new();
    if let Some(rooms) = options.history {
        config = config.history(rooms, History::last(options.keep));
    }
    let mut opening = OpenOptions::new().layer(config);
    if let Some(file) = options.history_file {
        opening = opening.history_file(file);
    }
    if options.must_publish {
        opening = opening.must_publish();
    }
    let layer = Layer::open_with(&options.layer, opening).await?;
    let mount = Mount::new(routes)?.limits(limits).fallback(fallback).layer(layer.clone());
    let address = ("127.0.0.1", options.port);
    let ended = match options.host {
        Host::Direct => {
            greenroom::run(Server::of(mount).threads(options.threads).backlog(4096).bind(address)?).await
        }
        Host::Mounted => {
            let server = HttpServer::new(move || App::new().configure(mount.configure()))
                .workers(options.threads)
                .backlog(4096)
                .max_connections(200_000)
                .bind(address)?;
            greenroom::run(server).await
        }
    };
    layer.close().await;
    Ok(ended?)
}
