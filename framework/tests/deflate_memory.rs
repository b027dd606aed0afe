//! The memory that compression costs an idle connection: none, unless the context is taken over.

use std::alloc::System;

use greenroom::{Deflate, Limits, Mount, prelude::*, testing::WebsocketCommunicator};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 20;
/// "Hello", compressed (RFC 7692, section 7.2.3.1), in a frame whose mask is zero.
const HELLO: [u8; 13] = [0xc1, 0x87, 0, 0, 0, 0, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?.repeat(1_000))
    }
}

/// How many bytes each connection keeps after it has received and sent messages with this offer.
async fn kept(limits: Limits, offer: &str, hello: &'static [u8]) -> usize {
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Echo))).unwrap().limits(limits);
    let mut connections = Vec::with_capacity(CONNECTIONS);
    let mut region = None;
    // The first connections allocate the memory that belongs to the process, the thread and the layer.
    for number in 0..2 * CONNECTIONS {
        if number == CONNECTIONS {
            region = Some(Region::new(ALLOCATOR));
        }
        let mut client = WebsocketCommunicator::new(&mount, "/").header("Sec-WebSocket-Extensions", offer);
        client.connect().await.unwrap();
        for _ in 0..2 {
            client.send_raw(hello);
            assert_eq!(client.receive_text().await.unwrap(), "Hello".repeat(1_000));
        }
        connections.push(client);
    }
    let change = region.unwrap().change();
    for client in connections {
        client.disconnect().await;
    }
    (change.bytes_allocated - change.bytes_deallocated) / CONNECTIONS
}

#[actix_web::test]
async fn an_idle_connection_holds_neither_compressor_nor_inflater() {
    let plain_hello = const { &[0x81, 0x85, 0, 0, 0, 0, b'H', b'e', b'l', b'l', b'o'] };
    let plain = kept(Limits::new(), "unknown-extension.", plain_hello).await;
    let compressed = kept(Limits::new(), "permessage-deflate", &HELLO).await;
    assert!(compressed <= plain + 256, "{compressed} bytes, while a plain connection keeps {plain}");

    let deflate = Deflate::new().server_context_takeover(true).client_context_takeover(true);
    let takeover = kept(Limits::new().deflate(deflate), "permessage-deflate", &HELLO).await;
    assert!(takeover > plain + 380_000, "as the documentation says: {takeover} bytes");
}
