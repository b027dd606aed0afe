//! The memory of a connection's scope: its texts in one allocation, and little else.

use std::alloc::System;

use greenroom::Scope;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The handshake of a browser, about 700 bytes of names and values.
const HEADERS: [(&str, &str); 15] = [
    ("host", "chat.example.com"),
    ("connection", "Upgrade"),
    ("pragma", "no-cache"),
    ("cache-control", "no-cache"),
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
    ("upgrade", "websocket"),
    ("origin", "https://chat.example.com"),
    ("sec-websocket-version", "13"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,en-US;q=0.6"),
    (
        "cookie",
        "sessionid=0hq3xw2kz1p8v7n6m5l4k3j2h1g0f9d8; csrftoken=AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz01; \
         _ga=GA1.1.1234567890.1700000000; theme=dark; consent=all",
    ),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ("sec-websocket-protocol", "chat.v1"),
    ("dnt", "1"),
];

#[test]
fn a_browsers_handshake_keeps_its_text_and_200_bytes() {
    let path = "/ws/room/lobby/";
    let make = || {
        let mut builder = Scope::builder(path).peer("192.0.2.1:4711".parse().unwrap()).param("room", "lobby");
        for (name, value) in HEADERS {
            builder = builder.header(name, value);
        }
        builder.build()
    };
    drop(make()); // allocates what a process needs once
    let text: usize = HEADERS.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        + path.len()
        + "room".len()
        + "lobby".len();

    let region = Region::new(ALLOCATOR);
    let scope = make();
    let change = region.change();
    let kept = change.bytes_allocated - change.bytes_deallocated;
    let allocations = change.allocations - change.deallocations;

    assert_eq!(scope.param_str("room"), Some("lobby"));
    assert_eq!(allocations, 1, "one allocation stays");
    let overhead = kept + size_of::<Scope>() - text;
    assert!(overhead <= 200, "{overhead} bytes beside {text} bytes of text");
}
