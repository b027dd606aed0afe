//! Ports for servers that must be told theirs.

use std::{
    net::TcpListener,
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Linux gives out the ports from 32,768 on, to connections as to listeners. A port below is taken by nobody between the
/// look at it and the start of the server, or while a test restarts its server.
const PORTS: Range<u16> = 20_000..32_000;
/// How many ports belong to one test program. Several run at the same time.
const BLOCK: usize = 500;

/// The ports of this test program. The first one is taken for as long as it runs, which keeps other programs out.
struct Block {
    first: u16,
    next: AtomicUsize,
    _taken: TcpListener,
}

fn block() -> &'static Block {
    static BLOCK_OF_THIS: OnceLock<Block> = OnceLock::new();
    BLOCK_OF_THIS.get_or_init(|| {
        let take = |first: u16| {
            let taken = TcpListener::bind(("127.0.0.1", first)).ok()?;
            Some(Block { first, next: AtomicUsize::new(0), _taken: taken })
        };
        PORTS.step_by(BLOCK).find_map(take).expect("fewer than 24 test programs run")
    })
}

/// A port of 127.0.0.1 that is free now, and that no other test gets soon.
///
/// # Panics
/// If 500 ports in a row are in use.
#[must_use]
pub fn free_port() -> u16 {
    let block = block();
    let next = || block.first + 1 + (block.next.fetch_add(1, Relaxed) % (BLOCK - 1)) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..BLOCK).map(|_| next()).find(is_free).expect("a free port")
}
