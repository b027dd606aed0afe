//! Which pages may send requests: by origin and user, against forms of other sites, and with CORS.

use actix_web::{App, HttpServer, web};
use greenroom::{
    Fallback, Mount,
    middleware::{AllowedHostsOriginValidator, SameOrigin},
    prelude::*,
    testing::LiveServer,
};

use super::client::{Client, JSON, OWN, ask};

#[derive(NoEvents)]
struct Quiet;
impl Consumer for Quiet {}

fn serve(settings: Fallback, hosts: &[&str]) -> LiveServer {
    let routes = UrlRouter::new().route("/q/", |_: &Scope| Ok(Quiet)).route("/r/", |_: &Scope| Ok(Quiet));
    let routes = if hosts.is_empty() { routes } else { routes.wrap(AllowedHostsOriginValidator::new(hosts)) };
    LiveServer::start(&Mount::new(routes).unwrap().fallback(settings), 1).unwrap()
}

const OPEN: &str = "/q/?greenroom=open";

#[actix_web::test]
async fn a_post_needs_the_header_or_an_origin() {
    let server = serve(Fallback::new(), &[]);
    let answer = ask(server.address(), "POST", OPEN, &[], b"").await;
    assert_eq!(answer.error(), (403, "csrf".to_owned()));
    let origin = format!("http://{}", server.address());
    let own = ("origin", origin.as_str());
    let answer = ask(server.address(), "POST", OPEN, &[own], b"").await;
    let client = Client::opened(server.address(), "/q/", &answer);
    let target = client.target("send", "seq=1");
    assert_eq!(ask(server.address(), "POST", &target, &[JSON], b"[]").await.error().0, 403);
    assert_eq!(ask(server.address(), "POST", &target, &[JSON, own], b"[]").await.status, 204);
    // sendBeacon sends this request when the user leaves the page.
    let text = ("content-type", "text/plain;charset=UTF-8");
    let target = client.target("close", "");
    let close = ask(server.address(), "POST", &target, &[text, own], br#"{"code":1001,"reason":""}"#).await;
    assert_eq!(close.status, 204);
    server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_connection_belongs_to_the_origin_user_and_path_that_opened_it() {
    let server = serve(Fallback::new(), &["a.example", "b.example"]);
    let a = ("origin", "http://a.example");
    let user = ("cookie", "theme=dark; sessionid=ann");
    let answer = ask(server.address(), "POST", OPEN, &[a, user], b"").await;
    let client = Client::opened(server.address(), "/q/", &answer);
    let poll = async |headers: &[(&str, &str)]| {
        ask(server.address(), "GET", &client.target("poll", "wait=0"), headers, b"").await
    };
    assert_eq!(poll(&[a, user]).await.status, 204);
    assert_eq!(
        poll(&[("cookie", "sessionid=ann")]).await.status,
        204,
        "a GET from the same origin has no Origin"
    );
    for headers in [
        &[a][..],
        &[a, ("cookie", "sessionid=bob")],
        &[a, user, ("authorization", "Bearer bob")],
        &[("origin", "http://b.example"), user],
        &[("sec-fetch-site", "cross-site"), user],
    ] {
        assert_eq!(poll(headers).await.error(), (403, "foreign_connection".to_owned()), "{headers:?}");
    }
    let elsewhere = Client { path: "/r/", ..client.clone() };
    let target = elsewhere.target("poll", "wait=0");
    let answer = ask(server.address(), "GET", &target, &[a, user], b"").await;
    assert_eq!(answer.error(), (403, "foreign_connection".to_owned()));
}

#[actix_web::test]
async fn an_origin_that_the_route_denies_cannot_open_a_connection() {
    let server = serve(Fallback::new(), &[]);
    let answer = ask(server.address(), "POST", OPEN, &[OWN, ("origin", "http://evil.example")], b"").await;
    assert_eq!((answer.status, answer.body.as_str()), (403, "forbidden"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn pages_of_listed_origins_may_ask_and_read() {
    const APP: &str = "https://app.example";
    let server = serve(Fallback::new(), &[APP]);
    let preflight = async |origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        ask(server.address(), "OPTIONS", OPEN, &headers, b"").await
    };
    let answer = preflight(APP).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("greenroom-client"));
    assert!(answer.header("access-control-max-age").is_some());
    assert_eq!(answer.header("vary"), Some("origin"));
    let answer = preflight("https://evil.example").await;
    assert_eq!(answer.error(), (403, "origin".to_owned()));
    assert_eq!(answer.header("access-control-allow-origin"), None);

    let answer = ask(server.address(), "POST", OPEN, &[OWN, ("origin", APP)], b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(APP)));
    let client = Client::opened(server.address(), "/q/", &answer);
    let target = client.target("poll", "wait=0");
    let answer = ask(server.address(), "GET", &target, &[("origin", APP)], b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(APP)));
    let answer = ask(server.address(), "GET", "/q/?greenroom=poll&id=x", &[("origin", APP)], b"").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (410, Some(APP)),
        "a page can read the reason"
    );
}

/// The list of a route decides, also about paths below a scope of actix-web. A path without a route says so to each page
/// that may send requests to any route.
#[actix_web::test]
async fn the_validator_of_each_route_decides_about_other_origins() {
    const DEV: &str = "http://localhost:5173";
    let quiet = |_: &Scope| Ok(Quiet);
    let open = UrlRouter::new().route("/open/", quiet).wrap(SameOrigin::new().and([DEV]));
    let routes = UrlRouter::new().nest("/dev", open).route("/own/", quiet);
    let mount = Mount::new(routes).unwrap();
    let server = LiveServer::start(&mount, 1).unwrap();
    for (path, status, cors) in [("/dev/open/", 200, true), ("/own/", 403, false), ("/nowhere/", 404, true)] {
        let target = format!("{path}?greenroom=open");
        let asked = [("origin", DEV), ("access-control-request-method", "POST")];
        let answer = ask(server.address(), "OPTIONS", &target, &asked, b"").await;
        assert_eq!(answer.status, if cors { 204 } else { 403 }, "{path}");
        let answer = ask(server.address(), "POST", &target, &[OWN, ("origin", DEV)], b"").await;
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!((answer.status, allowed), (status, cors.then_some(DEV)), "{path}");
    }
    let mount = mount.fallback(Fallback::new());
    let mounted =
        HttpServer::new(move || App::new().service(web::scope("/below").configure(mount.configure())));
    let mounted = mounted.workers(1).shutdown_timeout(1).bind("127.0.0.1:0").unwrap();
    let address = mounted.addrs()[0];
    let running = mounted.run();
    let handle = running.handle();
    let running = actix_web::rt::spawn(running);
    let asked = [("origin", DEV), ("access-control-request-method", "POST")];
    for (path, status) in [("/below/dev/open/", 204), ("/below/own/", 403)] {
        let target = format!("{path}?greenroom=open");
        assert_eq!(ask(address, "OPTIONS", &target, &asked, b"").await.status, status, "{path}");
    }
    handle.stop(false).await;
    running.await.unwrap().unwrap();
}

#[actix_web::test]
async fn a_connection_can_be_bound_to_a_user_by_a_header() {
    let by_header = Fallback::new().bound_to(|request| {
        request.headers().get("x-user").and_then(|user| user.to_str().ok()).map(str::to_owned)
    });
    let server = serve(by_header, &[]);
    let answer = ask(server.address(), "POST", OPEN, &[OWN, ("x-user", "ann")], b"").await;
    let client = Client::opened(server.address(), "/q/", &answer);
    let target = client.target("poll", "wait=0");
    let poll = async |user: &str| {
        ask(server.address(), "GET", &target, &[("x-user", user), ("cookie", "sessionid=new")], b"")
            .await
            .status
    };
    assert_eq!((poll("ann").await, poll("bob").await), (204, 403));
}

#[actix_web::test]
async fn with_the_fallback_off_the_app_answers_the_request() {
    let server = serve(Fallback::off(), &[]);
    assert_eq!(ask(server.address(), "POST", OPEN, &[OWN], b"").await.status, 404);
}
