//! The memory of a connection that rests, with and without a history of its group.
//!
//! This program has only one test, because it counts the memory of the whole process.

use std::{
    alloc::System,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use greenroom::{MemoryLayer, Mount, history::History, prelude::*, testing::LiveServer};
use integration_tests::PATIENCE;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::time::timeout;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(NoEvents)]
struct Member(GroupName);

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }
}

/// How many bytes the process holds.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn connect(server: &LiveServer, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    let is_marked = path.contains('?');
    loop {
        let count = socket.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&got);
        if text.split_once("\r\n\r\n").is_some_and(|(_, rest)| !is_marked || rest.contains("hello")) {
            return socket;
        }
    }
}

/// How many bytes the process holds when nothing changes any more. No event tells of that, so it is looked again and again.
async fn settled() -> usize {
    let mut last = (live(), 0);
    let settles = async {
        while last.1 < 30 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = live();
            last = (now, if now == last.0 { last.1 + 1 } else { 0 });
        }
    };
    timeout(PATIENCE, settles).await.expect("the server rests");
    last.0
}

/// How many bytes each of many connections costs.
async fn cost(server: &LiveServer, path: &str) -> usize {
    const CONNECTIONS: usize = 500;
    // The first time the tables of the server grow too.
    let warm: Vec<_> = (0..CONNECTIONS).map(|_| connect(server, path)).collect();
    settled().await;
    drop(warm);
    let before = settled().await;
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(server, path)).collect();
    let cost = (settled().await - before) / CONNECTIONS;
    drop(clients);
    settled().await;
    cost
}

#[actix_web::test]
async fn a_client_that_is_told_its_places_costs_little_while_it_rests() {
    let policy = History::last(100).within(Duration::from_secs(60));
    let layer = MemoryLayer::new().history("kept*", policy);
    let make = |scope: &Scope| Ok(Member(GroupName::new(scope.param::<String>("room")?)?));
    let mount = Mount::new(UrlRouter::new().route("/{room}/", make)).unwrap().layer(layer);
    let server = LiveServer::start(&mount, 1).unwrap();
    let plain = cost(&server, "/plain/").await;
    let kept = cost(&server, "/kept/").await;
    let marked = cost(&server, "/kept/?greenroom=socket&v=1").await;
    let costs =
        format!("{plain} B a connection, {kept} if its group is kept, {marked} if its client is told");
    assert!(kept <= plain + 24, "{costs}");
    assert!(marked <= plain + 64 + 24, "{costs}");
}
