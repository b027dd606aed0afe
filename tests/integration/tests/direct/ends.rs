//! How the server's sockets end, and what a client may send at which time.

use std::{future::pending, sync::Arc, time::Duration};

use greenroom::{Limits, Server, prelude::*};
use integration_tests::{
    eventually,
    raw::{BINARY, FIN, PING, PONG, Raw, Request, TEXT, masked},
};
use tokio::sync::Notify;

use super::{echo, serve};

#[actix_web::test]
async fn frames_sent_with_the_handshake_are_heard() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, _| {
        let mut client = Raw::open(address).await;
        let early = [masked(FIN | TEXT, b"one"), masked(FIN | TEXT, b"two")].concat();
        client.request_with(&Request::new("/echo/"), &early).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!((client.next_text().await, client.next_text().await), ("one".into(), "two".into()));
    })
    .await;
}

/// Never ends its `connect`. Tells the test when it is dropped.
#[derive(NoEvents)]
struct Undecided(Arc<Notify>);

impl Drop for Undecided {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Consumer for Undecided {
    async fn connect(&mut self, _ctx: &mut Context) -> Result<()> {
        pending().await
    }
}

#[actix_web::test]
async fn a_client_that_leaves_during_connect_is_noticed_at_once() {
    let left = Arc::new(Notify::new());
    let heard = Arc::clone(&left);
    let limits = Limits::new().disconnect_grace(Duration::from_millis(10));
    let routes = UrlRouter::new().route_with("/", limits, move |_: &Scope| Ok(Undecided(Arc::clone(&heard))));
    let server = Server::new(routes).unwrap().threads(1).bind("127.0.0.1:0").unwrap();
    serve(server, async |address, drain| {
        let mut client = Raw::open(address).await;
        client.request(&Request::new("/")).await;
        eventually("the client connects", || drain.connections() == 1).await;
        drop(client);
        left.notified().await;
        eventually("no connection is left", || drain.connections() == 0).await;
    })
    .await;
}

#[actix_web::test]
async fn a_client_that_breaks_the_protocol_and_sends_on_gets_the_close_frame() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, drain| {
        let mut client = Raw::connect(address, "/echo/").await;
        let broken = masked(FIN | 0x70 | TEXT, b"no such extension");
        let more = masked(FIN | BINARY, &vec![7; 1 << 20]);
        // A server that closed with this unread would reset TCP, and the close frame could be lost.
        client.send(&[broken, more].concat()).await;
        assert_eq!(client.close_frame().await.0, 1002);
        client.ended().await;
        drop(client);
        eventually("no connection is left", || drain.connections() == 0).await;
    })
    .await;
}

/// Sends 16 MiB at once, and closes if it is asked to.
#[derive(NoEvents)]
struct Flood;

impl Consumer for Flood {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        for number in 0..16 {
            ctx.send_bytes(vec![number; 1 << 20])?;
        }
        if message.text()? == "close" {
            ctx.close();
        }
        Ok(())
    }
}

fn flood() -> Server {
    let limits = Limits::new().outbox_size(64 << 20).close_timeout(Duration::from_millis(200));
    let routes = UrlRouter::new().route_with("/", limits, |_: &Scope| Ok(Flood));
    Server::new(routes).unwrap().threads(1).bind("127.0.0.1:0").unwrap()
}

#[actix_web::test]
async fn frames_that_a_full_socket_did_not_take_follow_in_order() {
    serve(flood(), async |address, _| {
        let mut client = Raw::connect(address, "/").await;
        client.text("go").await;
        for number in 0..16 {
            let frame = client.frame().await;
            assert_eq!((frame.first, frame.payload.len()), (FIN | BINARY, 1 << 20));
            assert!(frame.payload.iter().all(|byte| *byte == number));
        }
        client.send(&masked(FIN | PING, b"behind")).await;
        let pong = client.frame().await;
        assert_eq!((pong.first, pong.payload.as_slice()), (FIN | PONG, &b"behind"[..]));
    })
    .await;
}

#[actix_web::test]
async fn a_client_that_stopped_reading_is_cut_at_the_close_timeout() {
    serve(flood(), async |address, drain| {
        let mut client = Raw::connect(address, "/").await;
        client.text("close").await;
        // The client reads nothing, so neither the frames nor the close frame after them can leave.
        eventually("the socket was given up", || drain.connections() == 0).await;
        drop(client);
    })
    .await;
}

#[actix_web::test]
async fn the_server_ends_tcp_after_both_close_frames() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, drain| {
        let mut client = Raw::connect(address, "/echo/").await;
        client.send(&masked(FIN | 8, &[3, 232])).await;
        assert_eq!(client.close_frame().await.0, 1000);
        client.ended().await;
        eventually("no connection is left", || drain.connections() == 0).await;
    })
    .await;
}
