//! The smallest consumer: it greets, sends every text back with a suffix, and closes at the text `close`.
//!
//! Run with `cargo run -p echo`, then connect any WebSocket client to `ws://127.0.0.1:8000/room/123/`.

use clap::Parser;
use examples_shared::{Failure, Listen};
use greenroom::{Server, middleware::AllowedHosts, prelude::*};

/// The consumer of one connection.
#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text("来了啊 !!!")
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.text()? {
            "close" => ctx.close(),
            text => ctx.send_text(format!("{text}NB"))?,
        }
        Ok(())
    }

    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        tracing::info!(code = %reason.code, "gone");
    }
}

fn routes(hosts: &[String]) -> UrlRouter {
    UrlRouter::new().route(r"/room/{group:\w+}/", |_: &Scope| Ok(Echo)).wrap(AllowedHosts::new(hosts))
}

/// Sends each text back to its client.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    listen: Listen,
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    examples_shared::log();

    let server = Server::new(routes(&options.listen.allow_host))?.threads(options.listen.threads);
    let server = server.bind(&options.listen.bind).map_err(|error| Failure::of("--bind", error))?;
    println!("listening on ws://{}/room/123/", server.addresses()[0]);
    Ok(server.run().await?)
}

#[cfg(test)]
mod tests {
    use greenroom::{
        Mount,
        testing::{CommunicatorError, WebsocketCommunicator},
    };

    use super::*;

    #[actix_web::test]
    async fn one_person_is_greeted_answered_and_disconnected() {
        let mut client = WebsocketCommunicator::new(&Mount::new(routes(&[])).unwrap(), "/room/123/");
        client.connect().await.unwrap();
        assert_eq!(client.receive_text().await.unwrap(), "来了啊 !!!");
        client.send_text("你好");
        assert_eq!(client.receive_text().await.unwrap(), "你好NB");
        client.send_text("close");
        let closed = client.receive().await.unwrap_err();
        assert!(matches!(closed, CommunicatorError::Closed { code, .. } if u16::from(code) == 1000));
    }
}
