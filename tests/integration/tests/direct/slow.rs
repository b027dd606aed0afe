//! Clients that read slowly, but read.

use std::time::Duration;

use greenroom::{Limits, Server, prelude::*};
use integration_tests::raw::{BINARY, FIN, Raw};
use tokio::time::sleep;

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
        let mut client = Raw::connect(address, "/").await;
        for part in 0..PARTS {
            let frame = client.frame().await;
            assert_eq!((frame.first, frame.payload.len()), (FIN | BINARY, PART), "after {part} parts");
            // At this pace for the third of the buffers after which the system would take more, and for the time that is
            // allowed. The pace is what is tested.
            if part < 40 {
                sleep(Duration::from_millis(100)).await;
            }
        }
    })
    .await;
}
