//! Measures how long a message in a small room takes: alone, and beside a large room that is sent to all the time.
//!
//! Run with `cargo run --release -p load-server --bin beside -- --members 20000`.
//!
//! Server and clients are threads of one process, and the server has one thread. Every connection is a real socket. The
//! small room has 20 members. A time runs from the sending of a message until the last member has it.

use std::{
    error::Error,
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer};
use clap::{Parser, ValueEnum};
use greenroom::{Limits, Mount, Server, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

type Outcome<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures what a large room costs a small one.
#[derive(Parser)]
struct Options {
    /// Which host takes the connections.
    #[arg(long, value_enum, default_value_t = Host::Direct)]
    host: Host,
    /// How many members the large room has. Fewer, if the limit of open files does not allow both ends of so many.
    #[arg(long, default_value_t = 20_000)]
    members: usize,
    /// How many messages are measured in the small room.
    #[arg(long, default_value_t = 1_000)]
    messages: usize,
    /// Milliseconds between two of them.
    #[arg(long, default_value_t = 5)]
    pause: u64,
    /// Milliseconds between the end of one message to the large room and the next.
    #[arg(long, default_value_t = 20)]
    every: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Host {
    /// Inside an actix-web App.
    Mounted,
    /// On sockets of its own.
    Direct,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

struct Member(GroupName);

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.group_send(&self.0, Said { text: message.text()?.to_owned() }).await
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

/// Starts a server with one thread in this process. It ends with the process.
fn start(host: Host, mount: Mount) -> Outcome<SocketAddr> {
    let (sender, address) = mpsc::channel();
    thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            match host {
                Host::Direct => {
                    let server = Server::of(mount).threads(1).backlog(4096).bind("127.0.0.1:0")?;
                    // `start` waits for the address.
                    let _ = sender.send(server.addresses()[0]);
                    greenroom::run(server).await
                }
                Host::Mounted => {
                    let server = HttpServer::new(move || App::new().configure(mount.configure()))
                        .workers(1)
                        .backlog(4096)
                        .max_connections(200_000)
                        .bind("127.0.0.1:0")?;
                    let _ = sender.send(server.addrs()[0]);
                    greenroom::run(server).await
                }
            }
        })
    });
    Ok(address.recv()?)
}

/// Opens a WebSocket to a room. Each source address has ports for 28,000 connections.
async fn connect(server: SocketAddr, room: &str, number: usize) -> Outcome<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 1, 1 + (number / 10_000) as u8], 0).into())?;
    let mut stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "GET /{room}/ HTTP/1.1\r\nhost: {server}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the server refused a connection".into());
        }
    }
    Ok(stream)
}

/// The times of the small room's messages, sorted.
async fn times(options: &Options, members: &mut [TcpStream]) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(options.messages);
    for _ in 0..options.messages {
        let start = Instant::now();
        // "hi", masked with zeros.
        members[0].write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await?;
        for member in members.iter_mut() {
            let mut frame = [0; 4];
            member.read_exact(&mut frame).await?;
        }
        times.push(start.elapsed());
        sleep(Duration::from_millis(options.pause)).await;
    }
    times.sort_unstable();
    Ok(times)
}

fn show(what: &str, times: &[Duration]) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what:<24} p50 {:>9.1?}   p99 {:>9.1?}   most {:>9.1?}", at(0.5), at(0.99), at(1.0));
}

#[actix_web::main]
async fn main() -> Outcome<()> {
    let options = Options::parse();
    let files = rlimit::increase_nofile_limit(u64::MAX)? as usize;
    let members = options.members.min(files.saturating_sub(200) / 2);
    let routes = UrlRouter::new().route("/{room}/", |scope: &Scope| Ok(Member(scope.param("room")?)));
    let mount = Mount::new(routes)?.limits(Limits::new().outbox_size(64 << 20));
    let layer = mount.default_layer().clone();
    let server = start(options.host, mount)?;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for number in 0..20 {
        small.push(connect(server, "small", number).await?);
    }
    for number in 0..members {
        large.push(connect(server, "large", number).await?);
    }
    show("alone", &times(&options, &mut small).await?);

    // The clients of the large room do not read. A message has ten bytes, and the buffers of the sockets hold them all.
    let (sender, sent) = mpsc::channel();
    let every = Duration::from_millis(options.every);
    let talk = actix_web::rt::spawn(async move {
        let room = GroupName::new("large")?;
        loop {
            let start = Instant::now();
            let delivery = layer.group_send_counted(&room, Said { text: "ten bytes!".to_owned() }).await?;
            if delivery.dropped > 0 || sender.send(start.elapsed()).is_err() {
                return Outcome::Ok(());
            }
            sleep(every).await;
        }
    });
    let beside = times(&options, &mut small).await?;
    show(&format!("beside a room of {members}"), &beside);
    talk.abort();
    let mut sends: Vec<_> = sent.try_iter().collect();
    sends.sort_unstable();
    if sends.is_empty() {
        return Err("nothing was sent to the large room".into());
    }
    show(&format!("{} sends to it", sends.len()), &sends);
    Ok(())
}
