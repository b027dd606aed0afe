//! Both hosts behind a real nginx.

use actix_web::{HttpResponse, web};
use greenroom::{
    Body, HttpConsumer, HttpContext, Limits, Mount, ProtocolTypeRouter, prelude::*, testing::LiveServer,
};
use integration_tests::{
    http::Http,
    nginx::Nginx,
    raw::{FIN, Raw, Request, TEXT, masked},
};

/// How often a race between an answer and a body is tried.
const OFTEN: usize = 20;

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?)
    }
}

#[derive(NoEvents)]
struct Small;

impl HttpConsumer for Small {
    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(200, &[], format!("{} bytes", body.bytes().len()))
    }
}

async fn serve() -> (LiveServer, Nginx) {
    let small = Limits::new().message_size(1000);
    let routes =
        UrlRouter::new()
            .route("/echo/", |_: &Scope| Ok(Echo))
            .http_with("/small", small, |_: &Scope| Ok(Small));
    let application = ProtocolTypeRouter::new().websocket(routes).http(|config| {
        config.route("/plain", web::get().to(|| async { HttpResponse::Ok().body("the secret page") }));
    });
    let server = LiveServer::start(&Mount::new(application).unwrap(), 1).unwrap();
    let nginx = Nginx::before(server.address()).await;
    (server, nginx)
}

fn plain() -> Request {
    Request::new("/plain").without("Upgrade").without("Connection")
}

#[actix_web::test]
async fn a_websocket_passes() {
    let (_server, nginx) = serve().await;
    let mut client = Raw::open(nginx.address()).await;
    client.request_with(&Request::new("/echo/"), &masked(FIN | TEXT, b"early")).await;
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.next_text().await, "early");
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
    client.send(&masked(FIN | 8, &[3, 232])).await;
    assert_eq!(client.close_frame().await.0, 1000);
    client.ended().await;
}

/// After a 101 nginx looks at nothing any more: what the server would read as requests passes its rules by.
#[actix_web::test]
async fn no_request_passes_the_rules_of_the_proxy_in_a_false_tunnel() {
    let (_server, nginx) = serve().await;
    let good = || Request::new("/echo/");
    for handshake in [
        good().with("Upgrade", "websocket, h2c"),
        good().with("Upgrade", "websocket,"),
        good().with("Upgrade", "websocket, websocket"),
        good().and("Transfer-Encoding", "chunked"),
    ] {
        let mut client = Raw::open(nginx.address()).await;
        let more: &[u8] =
            if format!("{handshake:?}").contains("chunked") { b"5\r\nhello\r\n0\r\n\r\n" } else { b"" };
        client.request_with(&handshake, more).await;
        let response = client.response().await;
        if response.status == 101 {
            client.request(&plain()).await;
            panic!("{handshake:?} opened a tunnel; the answer in it: {:?}", client.response().await);
        }
        assert_eq!(response.status, 400, "{handshake:?}");
    }
    assert_eq!(Raw::open(nginx.address()).await.ask(&plain()).await.status, 403, "the rule holds");
}

/// A server that closes with an unread body resets TCP, and then nginx has no answer to pass on.
#[actix_web::test]
async fn an_answer_before_the_end_of_the_body_arrives() {
    let (_server, nginx) = serve().await;
    let body = vec![b'x'; 1 << 20];
    let own = [("greenroom-client", "1"), ("content-type", "application/json")];
    for (path, expected) in [
        ("/nowhere", 404),
        ("/small", 413),
        ("/echo/?greenroom=send&id=00000000000000000000000000000000&seq=1", 410),
    ] {
        let mut statuses = Vec::new();
        for _ in 0..OFTEN {
            let mut http = Http::open(nginx.address()).await;
            http.request("POST", path, &own, &body).await;
            statuses.push(http.head().await.status);
        }
        assert_eq!(statuses, [expected; OFTEN], "{path}");
    }
}
