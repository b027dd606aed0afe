//! Fifty thousand connections come and go, and leave nothing behind in tables and in memory.
//!
//! This program has only one test, because it looks at the memory of the whole process.

use std::net::SocketAddr;

use futures_util::future::join_all;
use greenroom::{
    Layer, Mount,
    prelude::*,
    testing::{LiveServer, census},
};
use integration_tests::{PATIENCE, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How many connections come in all, how many come before the memory is first measured, and how many come at once.
const ALL: usize = 50_000;
const WARM_UP: usize = 5_000;
const AT_ONCE: usize = 250;
/// How much larger the process may be at the end than after the warm-up: 70 bytes a connection would show.
const GROWTH: usize = 3 << 20;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// A member of three rooms: one for its batch, one for itself, and one for all.
struct Member(Vec<GroupName>);

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        self.0.clone()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.group_send(&self.0[1], Said { text: message.text()?.to_owned() }).await
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn mount() -> Mount {
    let routes = UrlRouter::new().route("/{batch}/{number}/", |scope: &Scope| {
        let batch: u32 = scope.param("batch")?;
        let number: u32 = scope.param("number")?;
        let names = [format!("batch-{batch}"), format!("one-{number}"), "all".to_owned()];
        Ok(Member(names.into_iter().map(GroupName::new).collect::<std::result::Result<_, _>>()?))
    });
    Mount::new(routes).unwrap()
}

/// Connects, says something that comes back, and leaves in one of three ways.
async fn visit(server: SocketAddr, number: usize) {
    let mut stream = connect(server, number).await;
    let head = format!(
        "GET /{}/{number}/ HTTP/1.1\r\nhost: {server}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        number / AT_ONCE
    );
    // "hi", masked with zeros, in the same packet: it is read once the consumer has accepted.
    stream.write_all(&[head.as_bytes(), &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']].concat()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\x81\x02hi") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&read));
    }
    match number % 3 {
        0 => {
            // A close frame with 1000, its answer, and the end of TCP.
            stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await.unwrap();
            read.clear();
            while stream.read_buf(&mut read).await.unwrap() > 0 {}
            assert_eq!(read, [0x88, 0x02, 0x03, 0xe8]);
        }
        1 => stream.shutdown().await.unwrap(),
        // A reset, without a close frame.
        _ => stream.set_zero_linger().unwrap(),
    }
}

/// Connects from another address for each batch. The system keeps the ports of earlier batches for a minute, so one
/// address would run out of ports.
async fn connect(server: SocketAddr, number: usize) -> TcpStream {
    let batch = number / AT_ONCE;
    let socket = TcpSocket::new_v4().unwrap();
    let source = [127, 0, 1 + (batch / 200) as u8, 1 + (batch % 200) as u8];
    socket.bind((source, 0).into()).unwrap();
    let stream = socket.connect(server).await.expect("the server listens");
    stream.set_nodelay(true).unwrap();
    stream
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Waits until all connections have ended, and checks that all tables are empty.
async fn all_is_empty(layer: &Layer, connections: impl Fn() -> usize) {
    eventually("all connections have ended", || connections() == 0).await;
    assert_eq!(layer.backend().groups().group_count(), 0, "the directory knows a group without members");
    assert_eq!(layer.backend().groups().queue_count(), 0);
    let threads = census(layer).await;
    assert!(!threads.is_empty());
    for thread in threads {
        assert_eq!(thread, Default::default(), "a thread's table has kept something");
    }
}

#[actix_web::test]
async fn fifty_thousand_connections_come_and_go_and_nothing_is_left() {
    let mount = mount();
    let server = LiveServer::start(&mount, 2).unwrap();
    let (layer, connections) = (mount.default_layer(), || server.connections());
    let mut warm = 0;
    for first in (0..ALL).step_by(AT_ONCE) {
        let batch = join_all((first..first + AT_ONCE).map(|number| visit(server.address(), number)));
        timeout(PATIENCE, batch).await.expect("a batch in time");
        if first + AT_ONCE == WARM_UP {
            all_is_empty(layer, connections).await;
            warm = resident();
        }
    }
    all_is_empty(layer, connections).await;
    assert_eq!(layer.metrics().encoded, ALL as u64, "each client said one thing to its own room");
    let end = resident();
    println!("{} KiB after {WARM_UP} connections, {} KiB after {ALL}", warm >> 10, end >> 10);
    assert!(end <= warm + GROWTH, "the process grew from {warm} to {end} bytes");
}
