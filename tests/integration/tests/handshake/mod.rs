//! How a handshake is answered, byte by byte over a real socket.

mod behind;
mod hosts;
mod lists;
mod mounting;
mod outcomes;
mod protocol;
mod scope;

use greenroom::{Mount, UrlRouter, testing::LiveServer};
use integration_tests::raw::{Raw, Request, Response};

/// A server with these routes.
fn serve(routes: UrlRouter) -> LiveServer {
    LiveServer::start(&Mount::new(routes).expect("good routes"), 1).expect("a free port")
}

/// Sends one request on a new connection.
async fn ask(server: &LiveServer, request: &Request) -> Response {
    Raw::open(server.address()).await.ask(request).await
}
