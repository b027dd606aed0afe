//! How a handshake is answered, byte by byte over a real socket.

mod behind;
mod hosts;
mod lists;
mod mounting;
mod origins;
mod outcomes;
mod protocol;
mod scope;

use greenroom::{Body, HttpConsumer, HttpContext, Mount, prelude::*, testing::LiveServer};
use integration_tests::raw::{Raw, Request, Response};

/// A server with these routes.
fn serve(routes: UrlRouter) -> LiveServer {
    LiveServer::start(&Mount::new(routes).expect("good routes"), 1).expect("a free port")
}

/// Sends one request on a new connection.
async fn ask(server: &LiveServer, request: &Request) -> Response {
    Raw::open(server.address()).await.ask(request).await
}

#[derive(NoEvents)]
struct Quiet;

impl Consumer for Quiet {}

#[derive(NoEvents)]
struct Plain;

impl HttpConsumer for Plain {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(200, &[], "plain")
    }
}

/// A consumer of each kind.
fn routes() -> UrlRouter {
    UrlRouter::new().route("/ws/", |_: &Scope| Ok(Quiet)).http("/page", |_: &Scope| Ok(Plain))
}

/// A request that is no handshake.
fn plain(method: &str, path: &str) -> Request {
    ["Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]
        .into_iter()
        .fold(Request::new(path).method(method), Request::without)
        .and("Greenroom-Client", "1")
        .and("Content-Length", "0")
}
