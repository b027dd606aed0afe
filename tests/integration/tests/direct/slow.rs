//! Clients that read slowly, but read.

use std::time::Duration;

use greenroom::{Limits, Server, prelude::*};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::serve;

const PART: usize = 64 << 10;
/// More than the system keeps for a connection if it may.
const PARTS: usize = 128;

#[derive(NoEvents)]
struct Download;

impl Consumer for Download {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        let handle = ctx.handle();
        ctx.spawn(async move {
            for _ in 0..PARTS {
                if handle.ready().await.is_err() || handle.send_bytes(vec![7; PART]).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

/// It takes as long as the system's buffers would have hidden that the client reads: some seconds.
#[actix_web::test]
async fn a_client_that_reads_steadily_is_not_too_slow() {
    let routes = UrlRouter::new().route("/", |_: &Scope| Ok(Download));
    let limits = Limits::new().write_timeout(Duration::from_secs(1)).deflate(None);
    let server = Server::new(routes).unwrap().limits(limits).threads(1).bind("127.0.0.1:0").unwrap();
    serve(server, |address, _| async move {
        let mut client = TcpStream::connect(address).await.unwrap();
        let handshake = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(handshake.as_bytes()).await.unwrap();
        let (mut buffer, mut got) = (vec![0; PART / 2], 0);
        while got < PART * PARTS {
            let read = client.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "the server has closed after {got} bytes");
            got += read;
            // At this pace for the third of the buffers after which the system would take more, and for the time that is allowed.
            if got < PART * 40 {
                sleep(Duration::from_millis(50)).await;
            }
        }
    })
    .await;
}
