//! Which pages and other clients may connect, by each way to a consumer and over both hosts: one setting for all of them.

use greenroom::{
    Mount,
    middleware::{AllowedHostsOriginValidator, SameOrigin},
    prelude::*,
    testing::{Host, LiveServer},
};
use integration_tests::{
    log,
    raw::{Raw, Request},
};

use super::{plain, routes};

fn start(host: Host, routes: UrlRouter) -> LiveServer {
    LiveServer::start_on(host, &Mount::new(routes).unwrap(), 1).unwrap()
}

/// The answers to a page of this origin: for a WebSocket, to the question of its browser before it sends a request of a
/// fallback transport, to this request, and to a POST to an HTTP consumer. With each of them stands whether the page may
/// read it.
async fn answers(server: &LiveServer, origin: Option<&str>) -> [(u16, bool); 4] {
    let asked = [
        Request::new("/ws/"),
        plain("OPTIONS", "/ws/?greenroom=open").and("Access-Control-Request-Method", "POST"),
        plain("POST", "/ws/?greenroom=open"),
        plain("POST", "/page"),
    ];
    let mut found = [(0, false); 4];
    for (request, found) in asked.into_iter().zip(&mut found) {
        let request = request.and("Host", &server.address().to_string());
        let request = origin.into_iter().fold(request, |request, origin| request.and("Origin", origin));
        let answer = Raw::open(server.address()).await.ask(&request).await;
        *found = (answer.status, answer.header("access-control-allow-origin") == origin && origin.is_some());
    }
    found
}

const DEV: &str = "http://localhost:5173";
/// A page of the own host, whose browser asks nothing first, and a client that is no browser.
const IN: [(u16, bool); 4] = [(101, false), (403, false), (200, false), (200, false)];
const WITHOUT: [(u16, bool); 4] = [(101, false), (405, false), (200, false), (200, false)];
/// A page of another host. The HTTP consumer answers it, but says nothing about who may read the answer.
const LISTED: [(u16, bool); 4] = [(101, false), (204, true), (200, true), (200, false)];
const OUT: [(u16, bool); 4] = [(403, false); 4];
const NOBODY: [(u16, bool); 4] = [(403, false), (405, false), (403, false), (403, false)];

#[actix_web::test]
async fn the_own_host_and_a_development_server_are_let_in_by_one_setting() {
    for host in [Host::Direct, Host::Mounted] {
        let server = start(host, routes().wrap(SameOrigin::new().and([DEV])));
        let own = format!("http://{}", server.address());
        for (origin, expected) in [
            (Some(own.as_str()), IN),
            (Some(DEV), LISTED),
            (Some("http://localhost:5174"), OUT),
            (Some("https://localhost:5173"), OUT),
            (Some("http://evil.example"), OUT),
            (Some("null"), OUT),
            (None, WITHOUT),
        ] {
            assert_eq!(answers(&server, origin).await, expected, "{host:?} {origin:?}");
        }
    }
}

#[actix_web::test]
async fn clients_without_an_origin_are_let_in_by_setting() {
    for host in [Host::Direct, Host::Mounted] {
        let listed = || AllowedHostsOriginValidator::new([DEV]);
        for (name, routes, without, dev) in [
            ("default", routes(), WITHOUT, OUT),
            ("required", routes().wrap(SameOrigin::new().and([DEV]).require_origin()), NOBODY, LISTED),
            ("listed", routes().wrap(listed()), NOBODY, LISTED),
            ("optional", routes().wrap(listed().allow_missing_origin()), WITHOUT, LISTED),
            ("all", routes().wrap(AllowedHostsOriginValidator::new(["*"])), WITHOUT, LISTED),
        ] {
            let server = start(host, routes);
            assert_eq!(answers(&server, None).await, without, "{host:?} {name}");
            assert_eq!(answers(&server, Some(DEV)).await, dev, "{host:?} {name}");
        }
    }
}

/// A page on a development server is refused by each way in turn, and the log has the line once.
#[actix_web::test]
async fn the_log_says_what_to_write_for_a_refused_origin_once_a_minute() {
    log::capture();
    const WAYS: [&str; 4] = ["/ws/", "OPTIONS /ws/?greenroom=open", "POST /ws/?greenroom=open", "POST /page"];
    for (way, port) in WAYS.into_iter().zip(20_001..) {
        let server = start(Host::Direct, routes());
        let origin = format!("http://localhost:{port}");
        let (method, path) = way.split_once(' ').unwrap_or(("GET", way));
        let request = if method == "GET" { Request::new(path) } else { plain(method, path) };
        let request = request.and("Host", &server.address().to_string()).and("Origin", &origin);
        for _ in 0..3 {
            assert_eq!(Raw::open(server.address()).await.ask(&request).await.status, 403, "{way}");
        }
        let write = format!(".wrap(SameOrigin::new().and([\"{origin}\"]))");
        log::logged(&["WARN", &write]).await;
        assert_eq!(log::lines(&["WARN", &write]).len(), 1, "{way}");
    }
}
