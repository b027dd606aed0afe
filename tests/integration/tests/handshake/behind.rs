//! Requests and handshakes that follow each other on one connection, and clients that end their sending side.

use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use greenroom::{
    Layer, Mount, ProtocolTypeRouter,
    prelude::*,
    testing::{Host, LiveServer},
};
use integration_tests::{
    Gate,
    http::Http,
    raw::{FIN, Raw, Request, TEXT, masked},
};

#[derive(NoEvents)]
struct Echo;

impl Consumer for Echo {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?)
    }
}

/// A server with an echo, a page, and a page that waits at the gate.
fn serve() -> (LiveServer, Gate) {
    let (server, gate, _) = serve_counted();
    (server, gate)
}

/// As [`serve`], with the layer whose metrics count.
fn serve_counted() -> (LiveServer, Gate, Layer) {
    let gate = Gate::default();
    let visitors = gate.clone();
    let application = ProtocolTypeRouter::new()
        .websocket(UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo)))
        .http(move |config| {
            let gate = visitors.clone();
            config.route("/page", web::get().to(|| async { HttpResponse::Ok().body("the page") }));
            config.route(
                "/slow",
                web::get().to(move || {
                    let gate = gate.clone();
                    async move {
                        gate.pass().await;
                        HttpResponse::Ok().body("the slow page")
                    }
                }),
            );
        });
    let mount = Mount::new(application).unwrap();
    (LiveServer::start(&mount, 1).unwrap(), gate, mount.default_layer().clone())
}

fn page(path: &str) -> Request {
    Request::new(path).without("Upgrade").without("Connection")
}

#[actix_web::test]
async fn a_page_a_handshake_and_a_frame_in_one_packet_are_all_answered() {
    let (server, _) = serve();
    let mut client = Raw::open(server.address()).await;
    let handshake = Request::new("/echo/").bytes(server.address());
    let behind = [handshake, masked(FIN | TEXT, b"early")].concat();
    client.request_with(&page("/page"), &behind).await;
    assert_eq!(client.response().await.body, "the page");
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.next_text().await, "early");
    client.text("later").await;
    assert_eq!(client.next_text().await, "later");
}

#[actix_web::test]
async fn a_handshake_after_the_answer_of_a_slow_page_opens_a_websocket() {
    let (server, gate) = serve();
    let mut client = Raw::open(server.address()).await;
    client.request(&page("/slow")).await;
    gate.visited().await;
    gate.open();
    assert_eq!(client.response().await.body, "the slow page");
    client.request_with(&Request::new("/echo/"), &masked(FIN | TEXT, b"early")).await;
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.next_text().await, "early");
}

/// A frame before the 101 breaks RFC 6455, section 4.1, but nothing may get lost without a word.
#[actix_web::test]
async fn behind_a_slow_page_a_handshake_is_served_or_refused_and_the_page_arrives() {
    for in_one in [true, false] {
        let (server, gate, layer) = serve_counted();
        let mut client = Raw::open(server.address()).await;
        let handshake = Request::new("/echo/").bytes(server.address());
        let behind = [handshake, masked(FIN | TEXT, b"early")].concat();
        if in_one {
            client.request_with(&page("/slow"), &behind).await;
            gate.visited().await;
        } else {
            client.request(&page("/slow")).await;
            gate.visited().await;
            client.send(&behind).await;
            assert!(client.is_silent().await);
        }
        gate.open();
        assert_eq!(client.response().await.body, "the slow page");
        let answer = client.response().await;
        // On a busy machine the page may be answered before the server reads on: then nothing gets lost.
        if answer.status == 101 {
            assert_eq!(client.next_text().await, "early");
        } else {
            assert_eq!(Host::from_env().unwrap(), Host::Direct, "an App always serves it");
            assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
            assert!(answer.body.contains("after the answers"), "{answer:?}");
            assert_eq!(layer.metrics().bad_handshake, 1);
            client.ended().await;
        }
    }
}

/// As with `nc -N`, or a proxy that passes on the end of a client.
#[actix_web::test]
async fn a_client_that_ends_its_sending_side_gets_the_apps_answer() {
    let (server, gate) = serve();
    let mut client = Raw::open(server.address()).await;
    client.request(&page("/slow")).await;
    client.shut_down().await;
    gate.visited().await;
    assert!(client.is_silent().await, "the end alone is no reason to hang up");
    gate.open();
    assert_eq!(client.response().await.body, "the slow page");
    client.ended().await;
}

/// The client waits for this end: browsers fire their close event after it.
#[actix_web::test]
async fn tcp_ends_promptly_after_both_close_frames() {
    let (server, _) = serve();
    let mut shortest = Duration::MAX;
    // The best of several, because the machine may be busy.
    for _ in 0..5 {
        let mut client = Raw::connect(server.address(), "/echo/").await;
        client.send(&masked(FIN | 8, &[3, 232])).await;
        let start = Instant::now();
        assert_eq!(client.close_frame().await.0, 1000);
        client.ended().await;
        shortest = shortest.min(start.elapsed());
    }
    assert!(shortest < Duration::from_millis(700), "{shortest:?}: actix-http lingers for a second");
}

#[actix_web::test]
async fn an_answer_before_the_end_of_the_body_is_not_cut_off() {
    let (server, _) = serve();
    let body = vec![b'x'; 1 << 20];
    for _ in 0..20 {
        let mut http = Http::open(server.address()).await;
        http.request("POST", "/nowhere", &[], &body).await;
        assert_eq!(http.head().await.status, 404);
    }
}
