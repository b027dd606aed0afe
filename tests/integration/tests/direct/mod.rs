//! The server that owns its sockets: where it listens, what its App decides, and how sockets end.

mod app;
mod ends;
mod listeners;
mod slow;
mod threads;

use std::{future::Future, net::SocketAddr};

use greenroom::{Drain, Serve, Server, prelude::*};

/// Sends each message back.
#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message {
            Message::Text(text) => ctx.send_text(text),
            Message::Binary(bytes) => ctx.send_bytes(bytes),
        }
    }
}

fn echo() -> Server {
    let routes = UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo));
    Server::new(routes).expect("a good route").threads(1)
}

/// Runs a server in this thread's runtime while `test` runs, and hands it the address of the first TCP listener.
async fn serve<T: Future<Output = ()>>(server: Server, test: impl FnOnce(SocketAddr, Drain) -> T) {
    let drain = Drain::new();
    let address = server.addresses().first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = server.drain(drain.clone()).start().expect("the server listens");
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    test(address, drain).await;
    handle.stop(false).await;
    running.await.expect("no panic").expect("no error");
}
