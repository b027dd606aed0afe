//! RFC 6455, section 4: the requests that open a WebSocket, and their answers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use greenroom::{prelude::*, testing::LiveServer};
use integration_tests::raw::{FIN, Raw, Request, TEXT, masked};
use sha1::{Digest as _, Sha1};

use super::{ask, serve};

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?)
    }
}

fn echo() -> LiveServer {
    serve(UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo)))
}

fn good() -> Request {
    Request::new("/echo/")
}

/// The accept of section 4.2.2, item 5.4, worked out by hand.
fn accept_of(key: &str) -> String {
    let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    STANDARD.encode(hash)
}

#[actix_web::test]
async fn a_browser_is_let_in() {
    const KEY: &str = "mnwFxiOlctXFN/DeMt1Amg==";
    let server = echo();
    let host = server.address().to_string();
    let request = good()
        .and("Host", &host)
        .with("Connection", "keep-alive, Upgrade")
        .and("Pragma", "no-cache")
        .and("Cache-Control", "no-cache")
        .and(
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36",
        )
        .and("Origin", &format!("http://{host}"))
        .and("Accept-Encoding", "gzip, deflate, br, zstd")
        .and("Accept-Language", "en-US,en;q=0.9")
        .with("Sec-WebSocket-Key", KEY)
        .and("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
    let mut client = Raw::open(server.address()).await;
    let response = client.ask(&request).await;
    assert_eq!(response.status, 101, "{response:?}");
    assert!(response.header("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
    assert!(response.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    assert_eq!(response.header("Sec-WebSocket-Accept"), Some(accept_of(KEY).as_str()));
    assert_eq!(
        response.header("Sec-WebSocket-Extensions"),
        Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        "compression is offered and agreed to, each message by itself"
    );
    assert_eq!(response.header("Sec-WebSocket-Protocol"), None);
    assert_eq!((response.header("Content-Length"), response.header("Transfer-Encoding")), (None, None));

    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
}

#[actix_web::test]
async fn the_example_of_the_rfc_gets_its_accept_key() {
    let response = ask(&echo(), &good()).await;
    assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[actix_web::test]
async fn a_message_in_one_packet_with_the_handshake_arrives() {
    let server = echo();
    let mut client = Raw::open(server.address()).await;
    client.request_with(&good(), &masked(FIN | TEXT, b"first")).await;
    assert_eq!(client.response().await.status, 101);
    client.text("second").await;
    assert_eq!(client.next_text().await, "first");
    assert_eq!(client.next_text().await, "second");
}

#[actix_web::test]
async fn names_and_tokens_in_any_case_are_read() {
    let server = echo();
    for request in [
        good().without("Upgrade").and("upgrade", "WebSocket"),
        good().with("Connection", "UPGRADE"),
        good().with("Connection", "keep-alive ,  upgrade"),
    ] {
        assert_eq!(ask(&server, &request).await.status, 101, "{request:?}");
    }
}

#[actix_web::test]
async fn a_key_must_be_16_bytes_in_base64() {
    let server = echo();
    assert_eq!(ask(&server, &good().without("Sec-WebSocket-Key")).await.status, 400);
    let short = STANDARD.encode([7; 15]);
    let long = STANDARD.encode([7; 17]);
    for key in ["", "x", &short, &long, "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j!Q=="] {
        let response = ask(&server, &good().with("Sec-WebSocket-Key", key)).await;
        assert_eq!(response.status, 400, "{key:?}");
        assert!(response.body.contains("Sec-WebSocket-Key"), "{response:?}");
    }
    let twice = good().and("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(ask(&server, &twice).await.status, 400);
}

#[actix_web::test]
async fn only_version_13_is_spoken_and_the_answer_says_so() {
    let server = echo();
    let without = good().without("Sec-WebSocket-Version");
    for request in [
        without.clone(),
        without.clone().and("Sec-WebSocket-Version", "8"),
        good().and("Sec-WebSocket-Version", "8"),
    ] {
        let response = ask(&server, &request).await;
        assert_eq!(response.status, 426, "{request:?}");
        assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
    }
}

#[actix_web::test]
async fn only_get_opens_a_websocket_and_the_answer_says_so() {
    let server = echo();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let response = ask(&server, &good().method(method)).await;
        assert_eq!((response.status, response.header("Allow")), (405, Some("GET")), "{method}");
    }
}

#[actix_web::test]
async fn the_connection_header_must_ask_for_the_upgrade() {
    let server = echo();
    for request in [good().without("Connection"), good().with("Connection", "keep-alive")] {
        let response = ask(&server, &request).await;
        assert_eq!(response.status, 400, "{request:?}");
        assert!(response.body.contains("Connection: Upgrade"), "{response:?}");
    }
}

/// The 101 must mean that both sides speak WebSocket. What actix-http goes on reading as HTTP, in chunks or as requests,
/// would be a tunnel past the rules of every proxy.
#[actix_web::test]
async fn what_would_stay_http_is_400_before_a_consumer_is_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let server = serve(UrlRouter::new().route("/echo/", move |_: &Scope| {
        count.fetch_add(1, Relaxed);
        Ok(Echo)
    }));
    for (request, body) in [
        (good().with("Upgrade", "websocket, h2c"), &b""[..]),
        (good().with("Upgrade", "h2c, websocket"), b""),
        (good().with("Upgrade", "websocket,"), b""),
        (good().with("Upgrade", "websocket, websocket"), b""),
        (good().and("Upgrade", "websocket"), b""),
        (good().and("Upgrade", "h2c"), b""),
        (good().and("Transfer-Encoding", "chunked"), b"5\r\nhello\r\n0\r\n\r\n"),
        (good().and("Content-Length", "5"), b"hello"),
    ] {
        let mut client = Raw::open(server.address()).await;
        client.request_with(&request, body).await;
        let response = client.response().await;
        assert_eq!((response.status, response.header("Connection")), (400, Some("close")), "{request:?}");
        client.ended().await;
    }
    assert_eq!(made.load(Relaxed), 0);
    let empty = good().and("Content-Length", "0");
    let mut client = Raw::open(server.address()).await;
    assert_eq!(client.ask(&empty).await.status, 101, "that is no body");
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
}

#[actix_web::test]
async fn a_plain_request_is_not_a_handshake() {
    let server = echo();
    for request in [good().without("Upgrade"), good().with("Upgrade", "h2c")] {
        assert_eq!(ask(&server, &request).await.status, 404, "the application has no page at this path");
    }
}

/// An unknown path is 404 before the upgrade. In Channels it is 500.
#[actix_web::test]
async fn an_unknown_path_is_404_whatever_else_is_wrong() {
    let server = echo();
    for path in ["/", "/echo", "/echo/more/", "/%ff/"] {
        let good = Request::new(path);
        for request in [good.clone(), good.clone().without("Sec-WebSocket-Key"), good.method("POST")] {
            assert_eq!(ask(&server, &request).await.status, 404, "{request:?}");
        }
    }
}

/// The bytes after a handshake are not HTTP, so no request can follow a refused handshake.
#[actix_web::test]
async fn a_refusal_ends_the_connection() {
    let server = echo();
    for request in [Request::new("/nowhere/"), good().with("Sec-WebSocket-Version", "8")] {
        let mut client = Raw::open(server.address()).await;
        let response = client.ask(&request).await;
        assert_eq!(response.header("Connection"), Some("close"), "{response:?}");
        client.ended().await;
    }
}

#[actix_web::test]
async fn control_bytes_in_a_header_are_400() {
    // The list of Channels is 0x0b, 0x0c, 0x1c, 0x1d, 0x1e and 0x85. The last one is not a control byte on the wire.
    for byte in ['\u{0}', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{7f}'] {
        let response = ask(&echo(), &good().and("X-Name", &format!("a{byte}b"))).await;
        assert_eq!(response.status, 400, "{byte:?}");
    }
}
