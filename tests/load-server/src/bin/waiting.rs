//! Measures clients that wait without a WebSocket: memory of each, CPU while nothing is sent, and one message to all.
//!
//! Run with `cargo run --release -p load-server --bin waiting -- --clients 10000`.
//!
//! The server is a process of its own with one thread. Every client is a real socket that has opened a connection, and
//! waits on a poll or on a stream of events. Linux only, because the program reads `/proc`.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer};
use clap::{Parser, ValueEnum};
use greenroom::{Fallback, Mount, Server, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::sleep,
};

type Outcome<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures clients that wait.
#[derive(Parser)]
struct Options {
    /// Which host takes the connections.
    #[arg(long, value_enum, default_value_t = Host::Direct)]
    host: Host,
    /// How the clients wait.
    #[arg(long, value_enum, default_value_t = Wait::Poll)]
    wait: Wait,
    /// How many clients wait.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// For how many seconds the CPU time is measured. Choose fewer than the 20 s of a poll.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Runs the server, and prints its address.
    #[arg(long, hide = true)]
    serve: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Host {
    /// Inside an actix-web App.
    Mounted,
    /// On sockets of its own.
    Direct,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wait {
    /// By long polls, held for 20 s.
    Poll,
    /// On streams of server-sent events.
    Events,
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

async fn serve(host: Host) -> Outcome<()> {
    let routes = UrlRouter::new().route("/room/", |_: &Scope| Ok(Member(GroupName::new("room")?)));
    // All clients have one address.
    let mount = Mount::new(routes)?.fallback(Fallback::new().connections_per_peer(None));
    match host {
        Host::Direct => {
            let server = Server::of(mount).threads(1).backlog(4096).bind("127.0.0.1:0")?;
            println!("{}", server.addresses()[0]);
            greenroom::run(server).await?;
        }
        Host::Mounted => {
            let server = HttpServer::new(move || App::new().configure(mount.configure()))
                .workers(1)
                .backlog(4096)
                .max_connections(200_000)
                .bind("127.0.0.1:0")?;
            println!("{}", server.addrs()[0]);
            greenroom::run(server).await?;
        }
    }
    Ok(())
}

/// A server in a process of its own. It ends when this is dropped.
struct Process(Child);

impl Process {
    fn start(host: Host) -> Outcome<(Self, SocketAddr)> {
        let host = host.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", "--host", &host])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no output")?;
        let process = Self(child);
        BufReader::new(out).read_line(&mut line)?;
        Ok((process, line.trim().parse()?))
    }

    /// How many bytes of memory the process has.
    fn memory(&self) -> Outcome<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
    }

    /// How much CPU time the process has used, in clock ticks of 10 ms.
    fn cpu(&self) -> Outcome<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = stat.rsplit_once(") ").ok_or("no stat")?.1;
        let ticks = fields.split(' ').skip(11).take(2);
        ticks.map(|field| Ok(field.parse::<u64>()?)).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads an answer with a `content-length`. Returns its body.
async fn body(stream: &mut TcpStream) -> Outcome<String> {
    let mut read = Vec::new();
    loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&read[..at])?.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(Ok(0), str::parse)?;
            if read.len() >= at + 4 + length {
                return Ok(String::from_utf8(read.split_off(at + 4))?);
            }
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err("the server closed a connection".into());
        }
    }
}

/// Opens a connection, and begins to wait on it.
///
/// Each source address has ports for 28,000 connections, and the ports of the last run are not free yet. So each run uses
/// other addresses.
async fn connect(server: SocketAddr, wait: Wait, number: usize) -> Outcome<(TcpStream, String)> {
    let socket = TcpSocket::new_v4()?;
    let run = std::process::id().to_le_bytes();
    socket.bind(([127, run[0].max(1), run[1], 1 + (number / 10_000) as u8], 0).into())?;
    let mut stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1\r\nhost: {server}\r\ngreenroom-client: 1\r\n");
    stream
        .write_all(format!("POST /room/?greenroom=open {head}content-length: 0\r\n\r\n").as_bytes())
        .await?;
    let opened = body(&mut stream).await?;
    let (_, rest) = opened.split_once("\"id\":\"").ok_or("no id")?;
    let id = rest.split('"').next().ok_or("no id")?.to_owned();
    let asked = match wait {
        Wait::Poll => "poll",
        Wait::Events => "events",
    };
    stream.write_all(format!("GET /room/?greenroom={asked}&id={id}&ack=0 {head}\r\n").as_bytes()).await?;
    Ok((stream, id))
}

/// Sends a message to all clients, and waits until each has it.
async fn say(server: SocketAddr, id: &str, clients: &mut [(TcpStream, String)]) -> Outcome<Duration> {
    let mut stream = TcpStream::connect(server).await?;
    let begin = Instant::now();
    let request = format!(
        "POST /room/?greenroom=send&id={id}&seq=1 HTTP/1.1\r\nhost: {server}\r\ngreenroom-client: 1\r\n\
         content-type: application/json\r\ncontent-length: 7\r\n\r\n[\"all\"]"
    );
    stream.write_all(request.as_bytes()).await?;
    for (client, _) in clients {
        let mut read = Vec::new();
        while !read.windows(5).any(|five| five == b"\"all\"") {
            if client.read_buf(&mut read).await? == 0 {
                return Err("the server closed a connection".into());
            }
        }
    }
    Ok(begin.elapsed())
}

#[actix_web::main]
async fn main() -> Outcome<()> {
    let options = Options::parse();
    let files = rlimit::increase_nofile_limit(u64::MAX)? as usize;
    if options.serve {
        return serve(options.host).await;
    }
    let count = options.clients.min(files.saturating_sub(100));
    let (process, server) = Process::start(options.host)?;
    // The first client is not counted: with it the server allocates memory that later clients do not need.
    let mut clients = vec![connect(server, options.wait, 0).await?];
    let before = process.memory()?;
    let begin = Instant::now();
    for number in 1..count {
        clients.push(connect(server, options.wait, number).await?);
    }
    println!("{count} wait, after {:.1?}", begin.elapsed());
    sleep(Duration::from_millis(500)).await;
    let each = process.memory()?.saturating_sub(before) / clients.len();
    println!("memory each            {each} bytes");
    let cpu = process.cpu()?;
    sleep(Duration::from_secs(options.seconds)).await;
    let used = (process.cpu()? - cpu) * 10;
    println!("CPU while they wait    {used} ms in {} s", options.seconds);
    let id = clients[0].1.clone();
    let took = say(server, &id, &mut clients).await?;
    println!("a message to all       after {took:.1?} everyone has it");
    Ok(())
}
