//! A client has its place before anything is done for it, and nobody can take all places.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_web::{
    App,
    test::{TestRequest, call_service, init_service, read_body_json},
};
use greenroom::{
    Body, Fallback, HttpConsumer, HttpContext, Mount,
    middleware::{Rejection, TrustedProxies, from_fn},
    prelude::*,
    testing::{LiveServer, pause},
};
use integration_tests::{
    PATIENCE,
    raw::{Raw, Request},
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    client::{Answer, Client, OWN, ask},
    mount, short,
};

/// Accepts everyone.
#[derive(NoEvents)]
struct Quiet;

impl Consumer for Quiet {}

/// Answers everyone.
#[derive(NoEvents)]
struct Page;

impl HttpConsumer for Page {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        ctx.send_response(200, &[], "a page")
    }
}

async fn open(server: &LiveServer, headers: &[(&str, &str)]) -> Answer {
    ask(server.address(), "POST", "/room/?greenroom=open", &[&[OWN], headers].concat(), b"").await
}

/// Closes a connection, and acknowledges its last batch. Then the server forgets it at once.
async fn leave(mut client: Client) {
    assert_eq!(client.close("").await.status, 204);
    client.close_of().await;
    client.poll(0).await;
}

#[actix_web::test]
async fn a_client_that_asks_for_nothing_keeps_its_place_for_ten_seconds() {
    pause();
    let (mount, _seen) = mount(Fallback::new());
    let layer = mount.default_layer().clone();
    let app = init_service(App::new().configure(mount.configure())).await;
    let open = async || {
        let request = TestRequest::post().uri("/room/?greenroom=open").insert_header(OWN).to_request();
        let opened: serde_json::Value = read_body_json(call_service(&app, request).await).await;
        opened["id"].as_str().expect("an id").to_owned()
    };
    let poll = async |id: &str| {
        let target = format!("/room/?greenroom=poll&id={id}&wait=0");
        call_service(&app, TestRequest::get().uri(&target).to_request()).await.status().as_u16()
    };
    let (quiet, late, polling) = (open().await, open().await, open().await);
    assert_eq!(poll(&polling).await, 204);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(poll(&late).await, 204);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((poll(&quiet).await, layer.metrics().fallback_expired), (410, 1));
    // Those that have polled live for 30 s, as `expires` says.
    tokio::time::sleep(Duration::from_secs(18)).await;
    assert_eq!((poll(&late).await, poll(&polling).await), (204, 204));
}

#[actix_web::test]
async fn clients_without_a_websocket_leave_half_of_the_places() {
    let (mount, _seen) = mount(Fallback::new());
    let layer = mount.default_layer().clone();
    let server = LiveServer::start(&mount.max_connections(8), 2).unwrap();
    let mut opened = Vec::new();
    for _ in 0..4 {
        opened.push(Client::opened(server.address(), "/room/", &open(&server, &[]).await));
    }
    for _ in 0..4 {
        let refused = open(&server, &[]).await;
        assert_eq!(refused.error(), (503, "busy".to_owned()));
        assert_eq!(refused.header("retry-after"), Some("10"));
    }
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(Raw::connect(server.address(), "/room/").await);
    }
    let refused = Raw::open(server.address()).await.ask(&Request::new("/room/")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert_eq!(layer.metrics().too_many, 5);
    // A client that leaves gives back its place, of either kind.
    leave(opened.pop().unwrap()).await;
    while open(&server, &[]).await.status != 200 {}
}

#[actix_web::test]
async fn the_places_of_clients_without_a_websocket_are_a_setting() {
    let (mount, _seen) = mount(Fallback::new().max_connections(1));
    let server = LiveServer::start(&mount, 1).unwrap();
    let client = Client::open(server.address(), "/room/").await;
    assert_eq!(open(&server, &[]).await.status, 503);
    leave(client).await;
    while open(&server, &[]).await.status != 200 {}
}

#[actix_web::test]
async fn one_address_takes_only_some_of_the_places() {
    let routes = UrlRouter::new().route("/room/", |_: &Scope| Ok(Quiet));
    let routes = routes.wrap(TrustedProxies::new(["127.0.0.1"]));
    let mount = Mount::new(routes).unwrap().fallback(Fallback::new().connections_per_peer(2));
    let layer = mount.default_layer().clone();
    let server = LiveServer::start(&mount, 2).unwrap();
    let from = async |address: &str| open(&server, &[("x-forwarded-for", address)]).await;
    let first = from("203.0.113.1").await;
    assert_eq!((first.status, from("203.0.113.1").await.status), (200, 200));
    let refused = from("203.0.113.1").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("10")));
    assert_eq!(layer.metrics().too_many_of_peer, 1);
    // Its WebSockets and other clients are not concerned. 64 bits of IPv6 are one client.
    let websocket = Request::new("/room/").with("x-forwarded-for", "203.0.113.1");
    assert_eq!(Raw::open(server.address()).await.ask(&websocket).await.status, 101);
    for (address, status) in [
        ("203.0.113.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        assert_eq!(from(address).await.status, status, "{address}");
    }
    leave(Client::opened(server.address(), "/room/", &first)).await;
    while from("203.0.113.1").await.status != 200 {}
}

/// A server whose middleware waits. It has three places.
struct Storm {
    server: LiveServer,
    /// How many requests the middleware has seen.
    entered: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Storm {
    fn new() -> Self {
        let (entered, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let slow = {
            let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
            from_fn(async move |scope: &mut Scope| {
                entered.fetch_add(1, SeqCst);
                gate.acquire().await.map_err(|_| Rejection::forbidden())?.forget();
                if scope.query_param("denied").is_some() { Err(Rejection::forbidden()) } else { Ok(()) }
            })
        };
        let routes =
            UrlRouter::new().route("/room/", |_: &Scope| Ok(Quiet)).http("/page/", |_: &Scope| Ok(Page));
        let mount = Mount::new(routes.wrap(slow)).unwrap().max_connections(3);
        let server = LiveServer::start(&mount.fallback(short().max_connections(3)), 2).unwrap();
        Self { server, entered, gate }
    }

    /// Requests of a kind, with their sockets. Each yields its status.
    fn requests(&self, kind: &str, count: usize, query: &str) -> JoinSet<(u16, Raw)> {
        let (method, path) = match kind {
            "websocket" => ("GET", format!("/room/?{query}")),
            "open" => ("POST", format!("/room/?greenroom=open&{query}")),
            _ => ("GET", format!("/page/?{query}")),
        };
        let mut request = Request::new(&path).method(method).with(OWN.0, OWN.1);
        if kind != "websocket" {
            request = request.without("upgrade").without("connection");
        }
        let mut requests = JoinSet::new();
        for _ in 0..count {
            let (address, request) = (self.server.address(), request.clone());
            requests.spawn(async move {
                let mut socket = Raw::open(address).await;
                (socket.ask(&request).await.status, socket)
            });
        }
        requests
    }

    /// Waits until seven requests are refused, because the other three wait in the middleware.
    async fn fills(&self, requests: &mut JoinSet<(u16, Raw)>) {
        let before = self.entered.load(SeqCst);
        for _ in 0..7 {
            assert_eq!(next(requests).await.0, 503);
        }
        assert!(self.entered.load(SeqCst) <= before + 3, "only three came in");
    }
}

async fn next(requests: &mut JoinSet<(u16, Raw)>) -> (u16, Raw) {
    let next = timeout(PATIENCE, requests.join_next()).await.expect("an answer in time");
    next.expect("one more request").expect("no panic")
}

#[actix_web::test]
async fn a_storm_behind_slow_middleware_does_not_pass_the_limit() {
    for (kind, welcome) in [("websocket", 101), ("open", 200), ("page", 200)] {
        let storm = Storm::new();
        let mut requests = storm.requests(kind, 10, "");
        storm.fills(&mut requests).await;
        storm.gate.add_permits(3);
        let mut kept = Vec::new();
        for _ in 0..3 {
            let (status, socket) = next(&mut requests).await;
            assert_eq!(status, welcome, "{kind}");
            kept.push(socket);
        }
        assert_eq!(storm.entered.load(SeqCst), 3, "{kind}");
    }
}

#[actix_web::test]
async fn a_request_that_is_refused_or_given_up_gives_its_place_back() {
    for (kind, welcome) in [("websocket", 101), ("open", 200), ("page", 200)] {
        let storm = Storm::new();
        let mut denied = storm.requests(kind, 10, "denied=1");
        storm.fills(&mut denied).await;
        storm.gate.add_permits(3);
        for _ in 0..3 {
            assert_eq!(next(&mut denied).await.0, 403, "{kind}");
        }
        let mut left = storm.requests(kind, 10, "");
        storm.fills(&mut left).await;
        // These clients leave while the middleware waits.
        drop(left);
        storm.gate.add_permits(1000);
        timeout(PATIENCE, async { while next(&mut storm.requests(kind, 1, "")).await.0 != welcome {} })
            .await
            .expect("a place is free");
    }
}
