//! Cookies of which some are strange. Each is read alone, on every transport.

use greenroom::{Mount, prelude::*, testing::LiveServer};
use integration_tests::raw::{Raw, Request};

/// Sends all cookies that it can read, and those that a session would be read from.
#[derive(NoEvents)]
struct Jar;

impl Consumer for Jar {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        let mut read: Vec<_> =
            ctx.scope().cookies().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
        for name in ["sessionid", "__Host-s"] {
            let found = ctx.scope().cookie(name);
            read.push(found.map_or("none".to_owned(), |cookie| cookie.value().to_owned()));
        }
        ctx.accept()?;
        ctx.send_text(read.join(" "))
    }
}

/// A request with a `Cookie` header of any bytes.
fn with_cookies(request: &Request, server: &LiveServer, cookies: &[u8]) -> Vec<u8> {
    let bytes = request.bytes(server.address());
    [&bytes[..bytes.len() - 2], b"cookie: ", cookies, b"\r\n\r\n"].concat()
}

fn post(asked: &str) -> Request {
    let request = Request::new(&format!("/?greenroom={asked}")).method("POST").with("greenroom-client", "1");
    request.without("upgrade").without("connection")
}

#[actix_web::test]
async fn a_strange_cookie_hides_no_other() {
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Jar))).unwrap();
    let server = LiveServer::start(&mount, 1).unwrap();
    for (cookies, expected) in [
        (&b"promo=10\xe9; sessionid=s"[..], "sessionid=s s none"),
        (b"sessionid=s; \xff=1; novalue; =x;; a=%ff", "sessionid=s s none"),
        (b"%5F%5FHost-s=attacker; __Host-s=victim", "%5F%5FHost-s=attacker __Host-s=victim none victim"),
        (b"%5F%5FHost-s=attacker", "%5F%5FHost-s=attacker none none"),
        (b"a=x%0d%0ay; b=%1b[2J; c=%00; d=%c2%85; sessionid=caf%C3%A9", "sessionid=caf\u{e9} caf\u{e9} none"),
    ] {
        let mut client = Raw::open(server.address()).await;
        client.send(&with_cookies(&Request::new("/"), &server, cookies)).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(client.next_text().await, expected);
    }
}

#[actix_web::test]
async fn a_client_without_a_websocket_stays_the_same_user_whatever_other_cookies_it_has() {
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Jar))).unwrap();
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut client = Raw::open(server.address()).await;
    client.send(&with_cookies(&post("open"), &server, b"sessionid=s; id=1; promo=10")).await;
    let opened = client.response().await;
    let opened: serde_json::Value = serde_json::from_str(&opened.body).unwrap();
    let id = opened["id"].as_str().unwrap();
    for (cookies, status) in [
        (&b"sessionid=s; id=1; promo=10"[..], 204),
        (b"id=1; sessionid=s", 204),
        (b"promo=10\xe9; id=1; \xff; sessionid=\"s\"", 204),
        (b"id=1; sessionid=t", 403),
        (b"id=1; %73essionid=s", 403),
        (b"id=1", 403),
        (b"id=1; sessionid=s; sessionid=t", 403),
    ] {
        client.send(&with_cookies(&post(&format!("ack&ack=0&id={id}")), &server, cookies)).await;
        assert_eq!(client.response().await.status, status, "{:?}", String::from_utf8_lossy(cookies));
    }
}
