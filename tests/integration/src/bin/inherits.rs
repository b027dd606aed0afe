//! A server for the tests, which listens on the socket that it inherits.

use greenroom::{Server, prelude::*};

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?)
    }
}

#[actix_web::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let routes = UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo));
    Ok(Server::new(routes)?.threads(1).listen_inherited()?.run().await?)
}
