//! The threads of the server: how they share connections, how requests may begin, and how the server stops.

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use actix_web::{App, HttpResponse, web};
use greenroom::{Serve as _, Server, prelude::*};
use integration_tests::raw::{Raw, Request};
use tokio::sync::Notify;

use super::{echo, serve};

/// Sends the id of its thread.
#[derive(NoEvents)]
struct Where;

impl Consumer for Where {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text(format!("{:?}", thread::current().id()))
    }
}

#[actix_web::test]
async fn threads_get_the_same_number_of_connections() {
    let routes = UrlRouter::new().route("/", |_: &Scope| Ok(Where));
    let server = Server::new(routes).unwrap().threads(3).bind("127.0.0.1:0").unwrap();
    serve(server, async |address, _| {
        let mut threads = HashMap::<String, Vec<Raw>>::new();
        for _ in 0..12 {
            let mut client = Raw::connect(address, "/").await;
            threads.entry(client.next_text().await).or_default().push(client);
        }
        assert_eq!(threads.values().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4]);
    })
    .await;
}

#[actix_web::test]
async fn a_handshake_may_come_in_pieces() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, _| {
        let request = Request::new("/echo/").bytes(address);
        for at in [1, 20, request.len() - 3] {
            let mut client = Raw::open(address).await;
            let (first, rest) = request.split_at(at);
            client.send(first).await;
            assert!(client.is_silent().await, "no answer before the head is complete");
            client.send(rest).await;
            assert_eq!(client.response().await.status, 101);
            client.text("hello").await;
            assert_eq!(client.next_text().await, "hello");
        }
    })
    .await;
}

#[actix_web::test]
async fn a_handshake_with_long_headers_is_accepted() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, _| {
        let mut client = Raw::open(address).await;
        let response = client.ask(&Request::new("/echo/").with("X-Long", &"x".repeat(9_000))).await;
        assert_eq!(response.status, 101);
        client.text("hello").await;
        assert_eq!(client.next_text().await, "hello");
    })
    .await;
}

#[actix_web::test]
async fn a_client_that_says_nothing_is_answered_408() {
    // The clock of actix-http moves every half a second, so a shorter timeout could end too early.
    let server = echo().request_timeout(Duration::from_millis(700)).bind("127.0.0.1:0").unwrap();
    serve(server, async |address, _| {
        let mut silent = Raw::open(address).await;
        assert_eq!(silent.response().await.status, 408);
        silent.ended().await;
        let mut slow = Raw::open(address).await;
        slow.send(b"GET /echo/ HTTP/1.1\r\nHost: ").await;
        assert_eq!(slow.response().await.status, 408);
        slow.ended().await;
    })
    .await;
}

#[actix_web::test]
async fn bytes_that_are_not_http_are_answered_400() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, _| {
        let mut client = Raw::open(address).await;
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n").await;
        assert_eq!(client.response().await.status, 400);
        client.ended().await;
    })
    .await;
}

#[actix_web::test]
async fn an_app_that_does_not_start_is_an_error() {
    let server = echo().app(|mount| {
        App::new()
            .data_factory(|| async { Err::<(), _>("the database is away") })
            .configure(mount.configure())
    });
    let running = server.bind("127.0.0.1:0").unwrap().start().expect("the server listens");
    let error = running.await.unwrap_err();
    assert!(error.to_string().contains("the App did not start"), "{error}");
}

#[actix_web::test]
async fn a_graceful_stop_lets_a_request_end() {
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (heard, held) = (Arc::clone(&begun), Arc::clone(&release));
    let server = echo().app(move |_| {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        App::new().route(
            "/",
            web::get().to(move || {
                let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
                async move {
                    begun.notify_one();
                    release.notified().await;
                    HttpResponse::Ok().body("in the end")
                }
            }),
        )
    });
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = server.addresses()[0];
    let running = server.start().expect("the server listens");
    let handle = running.handle();
    let running = actix_web::rt::spawn(running);
    let mut client = Raw::open(address).await;
    client.request(&Request::new("/").without("Upgrade").without("Connection")).await;
    heard.notified().await;
    let stopping = handle.stop(true);
    held.notify_one();
    assert_eq!(client.response().await.body, "in the end");
    stopping.await;
    running.await.expect("no panic").expect("no error");
    tokio::net::TcpStream::connect(address).await.expect_err("the server no longer listens");
}
