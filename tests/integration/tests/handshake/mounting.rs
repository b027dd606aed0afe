//! Where routes can be mounted: beside pages, below a scope, and in the user's own server.

use std::net::SocketAddr;

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, test, web};
use greenroom::{Drain, Mount, ProtocolTypeRouter, prelude::*, testing::LiveServer};
use integration_tests::{
    PATIENCE, eventually,
    raw::{Raw, Request},
};

use super::ask;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// Sends the path where it is mounted, and then sends texts back.
struct Guest;

impl Consumer for Guest {
    fn groups(&self) -> Vec<GroupName> {
        vec![guests()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text(format!("{}|{}", ctx.scope().root_path(), ctx.scope().path()))
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?)
    }
}

#[event_handlers]
impl Guest {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send_event(event)
    }
}

fn guests() -> GroupName {
    GroupName::new("guests").expect("a good name")
}

fn routes() -> UrlRouter {
    UrlRouter::new().route("/room/", |_: &Scope| Ok(Guest))
}

/// A server as users write it. Only the mount is from greenroom.
fn plain(mount: &Mount) -> (SocketAddr, ServerHandle) {
    let mount = mount.clone();
    let app = move || App::new().configure(mount.configure());
    let server = HttpServer::new(app).workers(2).disable_signals().bind("127.0.0.1:0").expect("a free port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

/// Pages and WebSockets can share a port and a path. Mirrors Channels' test_protocol_type_router.
#[actix_web::test]
async fn a_page_and_a_websocket_share_a_path() {
    let application = ProtocolTypeRouter::new().websocket(routes()).http(|config| {
        config.route("/room/", web::get().to(|| async { HttpResponse::Ok().body("the page") }));
        config.route("/about/", web::get().to(|| async { HttpResponse::Ok().body("about us") }));
    });
    let server = LiveServer::start(&Mount::new(application).unwrap(), 1).unwrap();
    let page = |path: &str| Request::new(path).without("Upgrade").without("Connection");
    assert_eq!(ask(&server, &page("/room/")).await.body, "the page");
    assert_eq!(ask(&server, &page("/about/")).await.body, "about us");
    assert_eq!(ask(&server, &page("/nowhere/")).await.status, 404);
    assert_eq!(ask(&server, &Request::new("/about/")).await.status, 404, "a page is not a WebSocket");

    let mut client = Raw::open(server.address()).await;
    assert_eq!(client.ask(&page("/room/")).await.body, "the page");
    assert_eq!(client.ask(&Request::new("/room/")).await.status, 101, "on the same connection, too");
    assert_eq!(client.next_text().await, "|/room/");
}

/// Mirrors daphne's test_root_path and the part of Channels' test_url_router about root_path.
#[actix_web::test]
async fn routes_below_a_scope_are_relative_to_it() {
    let mount = Mount::new(routes()).unwrap();
    let app = move || {
        App::new()
            .service(web::scope("/app").configure(mount.configure()))
            .route("/room/", web::get().to(|| async { HttpResponse::Ok().body("the page") }))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let mut client = Raw::connect(address, "/app/room/").await;
    assert_eq!(client.next_text().await, "/app|/room/");
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
    for (path, status, body) in [("/app/nowhere/", 404, "no such WebSocket"), ("/room/", 200, "the page")] {
        let response = Raw::open(address).await.ask(&Request::new(path)).await;
        assert_eq!((response.status, response.body.as_str()), (status, body), "{path}");
    }
    handle.stop(false).await;
}

#[actix_web::test]
async fn an_ordinary_actix_server_forgets_the_connections_that_it_drops() {
    let drain = Drain::new();
    let mount = Mount::new(routes()).unwrap().drain(drain.clone());
    let layer = mount.default_layer().clone();
    let (address, server) = plain(&mount);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Raw::connect(address, "/room/").await;
        client.next_text().await;
        clients.push(client);
    }
    let event = Said { text: "hello".to_owned() };
    assert_eq!(layer.group_send_counted(&guests(), &event).await.unwrap().delivered, 4);
    for client in &mut clients {
        assert_eq!(client.next_text().await, r#"{"type":"said","text":"hello"}"#);
    }

    // No `disconnect` is promised in this case, but memberships end with their connection.
    server.stop(false).await;
    for client in &mut clients {
        client.ended().await;
    }
    eventually("no connection is left", || drain.connections() == 0).await;
    assert_eq!(layer.group_send_counted(&guests(), &event).await.unwrap().delivered, 0);
}

#[actix_web::test]
async fn a_handshake_passes_through_the_test_service_of_actix() {
    let mount = Mount::new(routes()).unwrap();
    let app = test::init_service(App::new().configure(mount.configure())).await;
    let handshake = |path: &str| {
        test::TestRequest::get()
            .uri(path)
            .insert_header(("Upgrade", "websocket"))
            .insert_header(("Connection", "Upgrade"))
            .insert_header(("Sec-WebSocket-Version", "13"))
            .insert_header(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
    };
    let answer = test::call_service(&app, handshake("/room/").to_request());
    let response = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers().get("sec-websocket-accept").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let response = test::call_service(&app, handshake("/nowhere/").to_request()).await;
    assert_eq!(response.status(), 404);
}
