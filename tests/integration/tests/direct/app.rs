//! A handshake goes through the App: its routes, its middleware and its answers.

use actix_web::{
    App, HttpResponse,
    dev::Service as _,
    http::header::{HeaderName, HeaderValue},
    middleware::DefaultHeaders,
    web,
};
use greenroom::{ProtocolTypeRouter, Server, prelude::*};
use integration_tests::raw::{Raw, Request};

use super::{Echo, echo, serve};

#[actix_web::test]
async fn middleware_sees_the_handshake_and_adds_to_its_answer() {
    let server = echo().app(|mount| {
        App::new().wrap(DefaultHeaders::new().add(("X-Served-By", "me"))).configure(mount.configure())
    });
    serve(server.bind("127.0.0.1:0").unwrap(), async |address, _| {
        let mut client = Raw::open(address).await;
        let response = client.ask(&Request::new("/echo/")).await;
        assert_eq!((response.status, response.header("x-served-by")), (101, Some("me")));
        client.text("hello").await;
        assert_eq!(client.next_text().await, "hello");
    })
    .await;
}

#[actix_web::test]
async fn middleware_can_refuse_before_and_after_the_consumer() {
    let server = echo().app(|mount| {
        App::new()
            .wrap_fn(|request, next| {
                let before = request.headers().contains_key("x-before");
                let after = request.headers().contains_key("x-after");
                let answer = next.call(request);
                async move {
                    if before {
                        return Err(actix_web::error::ErrorUnauthorized("who are you"));
                    }
                    let answer = answer.await?;
                    if after {
                        let (request, _) = answer.into_parts();
                        let denied = HttpResponse::PaymentRequired().body("pay first");
                        return Ok(actix_web::dev::ServiceResponse::new(request, denied));
                    }
                    Ok(answer)
                }
            })
            .configure(mount.configure())
    });
    serve(server.bind("127.0.0.1:0").unwrap(), async |address, drain| {
        for (name, status, body) in [("x-before", 401, "who are you"), ("x-after", 402, "pay first")] {
            let mut client = Raw::open(address).await;
            let response = client.ask(&Request::new("/echo/").with(name, "1")).await;
            assert_eq!((response.status, response.body.as_str()), (status, body));
            client.ended().await;
        }
        // The consumer had accepted, and its connection has ended too.
        integration_tests::eventually("all connections have ended", || drain.connections() == 0).await;
    })
    .await;
}

#[actix_web::test]
async fn pages_and_websockets_share_a_port_and_a_connection() {
    let application = ProtocolTypeRouter::new()
        .websocket(UrlRouter::new().route("/echo/", |_: &Scope| Ok(Echo)))
        .http(|config| {
            config.route("/", web::get().to(|| async { HttpResponse::Ok().body("the page") }));
            config.route("/", web::post().to(|body: String| async { HttpResponse::Ok().body(body) }));
        });
    let server = Server::new(application).unwrap().threads(1).bind("127.0.0.1:0").unwrap();
    serve(server, async |address, _| {
        let page = Request::new("/").without("Upgrade").without("Connection");
        let mut client = Raw::open(address).await;
        for _ in 0..2 {
            assert_eq!(client.ask(&page).await.body, "the page");
        }
        let post = page.method("POST").and("Content-Length", "4");
        client.request_with(&post, b"body").await;
        assert_eq!(client.response().await.body, "body");
        assert_eq!(client.ask(&Request::new("/echo/")).await.status, 101);
        client.text("still here").await;
        assert_eq!(client.next_text().await, "still here");
    })
    .await;
}

#[actix_web::test]
async fn the_browser_client_is_served_at_the_configured_path() {
    let server = echo().script("/client.js").bind("127.0.0.1:0").unwrap();
    serve(server, async |address, _| {
        for (path, status) in [("/client.js", 200), ("/greenroom.js", 404)] {
            let request = Request::new(path).without("Upgrade").without("Connection");
            assert_eq!(Raw::open(address).await.ask(&request).await.status, status, "{path}");
        }
    })
    .await;
}

#[actix_web::test]
async fn an_unknown_path_is_404_and_the_connection_ends() {
    serve(echo().bind("127.0.0.1:0").unwrap(), async |address, _| {
        let mut client = Raw::open(address).await;
        let response = client.ask(&Request::new("/nowhere/")).await;
        assert_eq!((response.status, response.header("connection")), (404, Some("close")));
        client.ended().await;
    })
    .await;
}

#[actix_web::test]
async fn an_upgrade_by_another_handler_is_501() {
    let server = echo().app(|_| {
        App::new().route(
            "/",
            web::get().to(|| async {
                let mut response = HttpResponse::SwitchingProtocols().upgrade("websocket").finish();
                response
                    .headers_mut()
                    .insert(HeaderName::from_static("x-other"), HeaderValue::from_static("1"));
                response
            }),
        )
    });
    serve(server.bind("127.0.0.1:0").unwrap(), async |address, _| {
        assert_eq!(Raw::open(address).await.ask(&Request::new("/")).await.status, 501);
    })
    .await;
}

#[actix_web::test]
async fn one_more_connection_than_the_limit_is_503_until_one_ends() {
    let server = echo().max_connections(2).bind("127.0.0.1:0").unwrap();
    serve(server, async |address, drain| {
        let first = Raw::connect(address, "/echo/").await;
        let _second = Raw::connect(address, "/echo/").await;
        let refused = Raw::open(address).await.ask(&Request::new("/echo/")).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
        drop(first);
        integration_tests::eventually("one connection has ended", || drain.connections() == 1).await;
        Raw::connect(address, "/echo/").await;
    })
    .await;
}
