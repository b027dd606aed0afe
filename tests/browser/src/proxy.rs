//! A proxy between the browser and the server, which disturbs the traffic as a test tells it.
//!
//! It takes one request on each connection, so that it need not find the end of an answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{Result, Server};

/// A proxy on a free port. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<Rules>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Rules {
    spoil: Mutex<Spoil>,
    /// How many answers were lost.
    lost: watch::Sender<usize>,
    /// How often all connections were cut.
    cuts: watch::Sender<usize>,
    /// The server's sides of connections that only the browser has lost.
    left_open: Mutex<Vec<TcpStream>>,
}

#[derive(Debug)]
struct Spoil {
    target: SocketAddr,
    /// The first line of each request, in the order of arrival.
    requests: Vec<String>,
    refuse_upgrades: bool,
    hold_streams: bool,
    /// Whether new connections end at once.
    away: bool,
    /// Whether the server does not notice that a connection is cut.
    unnoticed: bool,
    /// The next answer to lose: a part of its request line, and its status.
    lose: Option<(&'static str, u16)>,
}

impl Proxy {
    /// Starts a proxy in front of a server. At first it disturbs nothing.
    pub async fn start(server: &Server) -> Result<Self> {
        Self::start_before(server.address()?).await
    }

    /// Does the same for a server at an address.
    pub async fn start_before(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let spoil = Spoil {
            target,
            requests: Vec::new(),
            refuse_upgrades: false,
            hold_streams: false,
            away: false,
            unnoticed: false,
            lose: None,
        };
        let rules = Arc::new(Rules {
            spoil: Mutex::new(spoil),
            lost: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
            left_open: Mutex::default(),
        });
        let serving = Arc::clone(&rules);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let rules = Arc::clone(&serving);
                // An error means that a connection has ended, which the browser sees too.
                tokio::spawn(async move { rules.serve(client).await.ok() });
            }
        });
        Ok(Self { address, rules, task })
    }

    /// The address of a path on the server, through this proxy.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends new requests to another server from now on.
    pub fn turn_to(&self, server: &Server) -> Result<()> {
        self.turn_to_address(server.address()?);
        Ok(())
    }

    /// Does the same for a server at an address.
    pub fn turn_to_address(&self, target: SocketAddr) {
        self.rules.spoil().target = target;
    }

    /// Answers each request for a WebSocket with 403.
    pub fn refuse_upgrades(&self) {
        self.rules.spoil().refuse_upgrades = true;
    }

    /// Passes on no byte of an event stream, like a proxy that waits for the end of each answer.
    pub fn hold_streams(&self) {
        self.rules.spoil().hold_streams = true;
    }

    /// Ends all connections, and each new one at once, until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.rules.cut(false);
    }

    /// Does the same, but the server does not notice: as when a network is gone, its side of each WebSocket stays open.
    pub fn cut_unnoticed(&self) {
        self.rules.cut(true);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.rules.spoil().away = false;
    }

    /// Loses the next answer with this status to a request whose first line has this part.
    ///
    /// The server has answered, but the browser only sees a connection that ends.
    pub fn lose_an_answer(&self, part: &'static str, status: u16) {
        self.rules.spoil().lose = Some((part, status));
    }

    /// Waits until this many answers were lost.
    pub async fn wait_until_lost(&self, count: usize) -> Result<()> {
        self.rules.lost.subscribe().wait_for(|lost| *lost >= count).await?;
        Ok(())
    }

    /// How many requests had this part in their first line.
    pub fn count(&self, part: &str) -> usize {
        self.rules.spoil().requests.iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rules {
    fn spoil(&self) -> MutexGuard<'_, Spoil> {
        self.spoil.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self, unnoticed: bool) {
        let mut spoil = self.spoil();
        (spoil.away, spoil.unnoticed) = (true, unnoticed);
        drop(spoil);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn serve(&self, client: TcpStream) -> Result<()> {
        // Looked at in this order: what begins after a cut is away, and what began before it is cut.
        let mut cuts = self.cuts.subscribe();
        if self.spoil().away {
            return Ok(());
        }
        tokio::select! {
            biased; // a cut WebSocket ends by itself
            ended = self.pass(client, cuts.clone()) => ended,
            _ = cuts.changed() => Ok(()),
        }
    }

    async fn pass(&self, mut client: TcpStream, mut cuts: watch::Receiver<usize>) -> Result<()> {
        let (head, rest) = read_head(&mut client).await?;
        let upgrade = head.to_ascii_lowercase().contains("upgrade: websocket");
        let line = head.lines().next().unwrap_or_default().to_owned();
        let (target, refused, held) = {
            let mut spoil = self.spoil();
            spoil.requests.push(if upgrade { format!("UPGRADE {line}") } else { line.clone() });
            (spoil.target, upgrade && spoil.refuse_upgrades, spoil.hold_streams && line.contains("=events"))
        };
        if refused {
            client
                .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await?;
            return Ok(());
        }
        let mut server = TcpStream::connect(target).await?;
        let head = if upgrade { head } else { last_of_its_connection(&head) };
        server.write_all(head.as_bytes()).await?;
        server.write_all(&rest).await?;
        if upgrade {
            tokio::select! {
                biased; // before the whole of this is dropped
                _ = cuts.changed() => {}
                ended = copy_bidirectional(&mut client, &mut server) => return Ok(ended.map(drop)?),
            }
            if self.spoil().unnoticed {
                self.left_open.lock().unwrap_or_else(PoisonError::into_inner).push(server);
            }
            return Ok(());
        }

        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = async {
            copy(&mut from_client, &mut to_server).await?;
            Result::Ok(()) // the browser has gone, so the request ends too
        };
        let down = async {
            let mut first = vec![0; 16 << 10];
            let count = from_server.read(&mut first).await?;
            if held {
                copy(&mut from_server, &mut tokio::io::sink()).await?;
            }
            if self.loses(&line, &first[..count]) {
                self.lost.send_modify(|lost| *lost += 1);
                return Ok(());
            }
            to_client.write_all(&first[..count]).await?;
            copy(&mut from_server, &mut to_client).await?;
            Result::Ok(())
        };
        tokio::select! { ended = up => ended, ended = down => ended }
    }

    fn loses(&self, line: &str, answer: &[u8]) -> bool {
        let wanted = |(part, status): &mut (&str, u16)| {
            line.contains(*part) && answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes())
        };
        self.spoil().lose.take_if(wanted).is_some()
    }
}

/// Reads the head of a request. Returns it with the bytes that came after it.
async fn read_head(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8(read)?, rest));
        }
        if client.read_buf(&mut read).await? == 0 {
            return Err("the browser ended the connection".into());
        }
    }
}

/// The same head with `Connection: close`, so that the server ends the connection after its answer.
fn last_of_its_connection(head: &str) -> String {
    let kept = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    kept.map(|line| format!("{line}\r\n")).collect::<String>() + "Connection: close\r\n\r\n"
}
