//! Measures what TLS adds to plain TCP: memory of an idle connection, CPU time of a handshake and of an echo.
//!
//! Run with `cargo run --release -p load-server --bin wss`.
//!
//! The server is a process of its own with one thread. The figures are those of Linux in `/proc`.

use std::{
    error::Error,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use greenroom::{Server, prelude::*};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer},
};

type Outcome<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures the cost of TLS for a connection.
#[derive(Parser)]
struct Options {
    /// How many connections are idle.
    #[arg(long, default_value_t = 2_000)]
    idle: usize,
    /// How many connections echo, each with one message at a time.
    #[arg(long, default_value_t = 100)]
    echoes: usize,
    /// For how many seconds they echo.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many runs there are. The program prints their medians.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    #[arg(long, hide = true)]
    serve: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Kind {
    Plain,
    Tls,
}

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?.to_owned())
    }
}

/// Runs the server. Prints its address, and its certificate if it has one.
async fn serve(kind: Kind) -> Outcome<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let server = Server::new(UrlRouter::new().route("/", |_: &Scope| Ok(Echo)))?.threads(1).backlog(4096);
    let (server, certificate) = match kind {
        Kind::Plain => (server.bind("127.0.0.1:0")?, Vec::new()),
        Kind::Tls => {
            let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der())?;
            let certificate = signed.cert.der().clone();
            let config = ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)?;
            (server.bind_rustls_0_23("127.0.0.1:0", config)?, certificate.to_vec())
        }
    };
    println!("{} {certificate:?}", server.addresses()[0]);
    std::io::stdout().flush()?;
    Ok(server.run().await?)
}

/// The process of a server. It ends when this is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(kind: Kind) -> Outcome<Self> {
        let name = if kind == Kind::Tls { "tls" } else { "plain" };
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).args(["--serve", name]).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (address, certificate) = line.trim().split_once(' ').ok_or("the server did not start")?;
        let bytes = certificate.trim_matches(['[', ']']).split(", ").map(str::parse::<u8>);
        let tls = match kind {
            Kind::Plain => None,
            Kind::Tls => {
                let mut roots = RootCertStore::empty();
                roots.add(bytes.collect::<std::result::Result<Vec<_>, _>>()?.into())?;
                let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Self { child, address: address.parse()?, tls })
    }

    /// How many bytes of memory the process has.
    fn memory(&self) -> Outcome<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: f64 = text.split(' ').nth(1).ok_or("no memory")?.parse()?;
        Ok(pages * 4096.0)
    }

    /// The CPU time of the process in microseconds, as the scheduler counts it for each thread.
    fn cpu(&self) -> Outcome<f64> {
        let mut nanoseconds = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().ok_or("no time")?.parse::<f64>()?;
        }
        Ok(nanoseconds / 1_000.0)
    }

    async fn connect(&self) -> Outcome<Box<dyn Stream>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(tls) => Box::new(tls.connect("localhost".try_into()?, socket).await?),
        };
        let head = format!(
            "GET / HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the server refused a connection".into());
            }
        }
        Ok(stream)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Returns the bytes of an idle connection, and the CPU time of a handshake and of an echo in microseconds.
async fn measure(options: &Options, kind: Kind) -> Outcome<[f64; 3]> {
    let server = Process::start(kind)?;
    // The first connections are not counted: with them the server allocates memory that later ones do not need.
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(server.connect().await?);
    }
    let (memory, cpu) = (server.memory()?, server.cpu()?);
    for _ in 0..options.idle {
        idle.push(server.connect().await?);
    }
    let connecting = (server.cpu()? - cpu) / options.idle as f64;
    let memory = (server.memory()? - memory) / options.idle as f64;

    let end = Instant::now() + Duration::from_secs(options.seconds);
    let cpu = server.cpu()?;
    let talks: Vec<_> = idle
        .drain(..options.echoes.min(idle.len()))
        .map(|mut stream| {
            actix_web::rt::spawn(async move {
                let mut count = 0_u32;
                // 100 bytes, masked with zeros.
                let sent = [&[0x81, 0x80 | 100, 0, 0, 0, 0], [b'x'; 100].as_slice()].concat();
                let mut answer = [0; 102];
                while Instant::now() < end {
                    stream.write_all(&sent).await?;
                    stream.flush().await?;
                    stream.read_exact(&mut answer).await?;
                    count += 1;
                }
                Outcome::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for talk in talks {
        count += talk.await??;
    }
    let echo = (server.cpu()? - cpu) / f64::from(count);
    // The kernel needs some time to free the ports of so many sockets.
    drop(idle);
    sleep(Duration::from_millis(200)).await;
    Ok([memory, connecting, echo])
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[actix_web::main]
async fn main() -> Outcome<()> {
    let options = Options::parse();
    if let Some(kind) = options.serve {
        return serve(kind).await;
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    let mut results = [Vec::new(), Vec::new()];
    for _ in 0..options.repeat.max(1) {
        for (kind, results) in [Kind::Plain, Kind::Tls].into_iter().zip(&mut results) {
            results.push(measure(&options, kind).await?);
        }
    }
    println!(
        "| | RSS per idle connection | CPU per connection | CPU per echo of 100 bytes |\n|---|---|---|---|"
    );
    for (name, results) in ["TCP", "TLS (rustls)"].iter().zip(&results) {
        let [memory, connecting, echo] = [0, 1, 2].map(|at| median(results.iter().map(|result| result[at])));
        println!("| {name} | {memory:.0} B | {connecting:.1} µs | {echo:.2} µs |");
    }
    Ok(())
}
