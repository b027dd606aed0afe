//! Which consumer a request reaches, and which requests are let in.

use greenroom::middleware::{AllowedHostsOriginValidator, Rejection, from_fn};
use integration_tests::Client;

use super::*;

#[derive(NoEvents)]
struct Plain(&'static str);

impl HttpConsumer for Plain {
    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()> {
        let number: Option<u32> = if body.bytes().is_empty() { None } else { Some(body.json()?) };
        ctx.scope().add_response_header("x-by", "greenroom")?;
        let param = ctx.scope().param_str("p").unwrap_or("-").to_owned();
        ctx.send_json(200, &(self.0, param, ctx.scope().root_path(), number))
    }
}

#[derive(NoEvents)]
struct Socket;

impl Consumer for Socket {}

/// Consumers, WebSockets and the App's own pages have their paths side by side.
#[actix_web::test]
async fn requests_find_their_routes() {
    use actix_web::{HttpResponse, web};
    let routes = || {
        UrlRouter::new()
            .route("/both", |_: &Scope| Ok(Socket))
            .http("/both", |_: &Scope| Ok(Plain("both")))
            .nest("/in", UrlRouter::new().http("/{p:int}", |_: &Scope| Ok(Plain("int"))))
            .http("/tail/{p:path}", |_: &Scope| Ok(Plain("tail")))
            .http("/caf\u{e9}", |_: &Scope| Ok(Plain("cafe")))
    };
    let application = greenroom::ProtocolTypeRouter::new().websocket(routes()).http(move |config| {
        let below = Mount::new(routes()).unwrap();
        config
            .service(web::scope("/below").configure(below.configure()))
            .route("/page", web::get().to(|| async { HttpResponse::Ok().body("page") }));
    });
    let server = LiveServer::start(&Mount::new(application).unwrap(), 1).unwrap();
    let mut http = Http::open(server.address()).await;
    for (path, status, body) in [
        ("/both", 200, r#"["both","-","",null]"#),
        ("/in/7", 200, r#"["int","7","",null]"#),
        ("/in/x", 404, "no such page"),
        ("/tail/a/b%20c", 200, r#"["tail","a/b c","",null]"#),
        ("/caf%C3%A9", 200, r#"["cafe","-","",null]"#),
        ("/caf", 404, ""),
        ("/below/in/8", 200, r#"["int","8","/below",null]"#),
        ("/below/tail/x/y", 200, r#"["tail","x/y","/below",null]"#),
        ("/page", 200, "page"),
        ("/nowhere/at/all", 404, ""),
    ] {
        let (head, text) = http.ask("GET", path, &[], b"").await;
        assert_eq!((head.status, text.as_str()), (status, body), "{path}");
        assert_eq!(head.header("x-by").is_some(), status == 200 && path != "/page", "{path}");
    }
    let (head, text) = http.ask("POST", "/both", &[], b"12").await;
    assert_eq!((head.status, text.as_str()), (200, r#"["both","-","",12]"#));
    let (head, text) = http.ask("POST", "/both", &[], b"{").await;
    assert_eq!(
        (head.status, text.as_str()),
        (400, "the message is not the expected JSON: invalid type: map, expected u32 at line 1 column 0")
    );
    assert!(Client::try_connect(&server, "/both", &[]).await.is_ok());
}

#[actix_web::test]
async fn middleware_and_origins_are_checked_as_for_websockets() {
    let listed = UrlRouter::new()
        .http("/", |_: &Scope| Ok(Plain("listed")))
        .wrap(AllowedHostsOriginValidator::new(["example.com"]));
    let gated = UrlRouter::new().http("/", |_: &Scope| Ok(Plain("gated"))).wrap(from_fn(
        async |scope: &mut Scope| {
            if scope.query_string() == "in" { Ok(()) } else { Err(Rejection::unauthorized()) }
        },
    ));
    let routes = UrlRouter::new()
        .http("/open", |_: &Scope| Ok(Plain("open")))
        .nest("/listed", listed)
        .nest("/gated", gated);
    let server = LiveServer::start(&Mount::new(routes).unwrap(), 1).unwrap();
    let own = format!("http://{}", server.address());
    let mut http = Http::open(server.address()).await;
    let foreign = "https://evil.example";
    for (method, path, origin, status) in [
        ("GET", "/open", None, 200),
        ("GET", "/open", Some(foreign), 200),
        ("POST", "/open", None, 200),
        ("POST", "/open", Some(&*own), 200),
        ("POST", "/open", Some(foreign), 403),
        ("GET", "/listed/", None, 200),
        ("GET", "/listed/", Some(foreign), 403),
        ("POST", "/listed/", None, 403),
        ("POST", "/listed/", Some("https://example.com"), 200),
        ("GET", "/gated/", None, 401),
        ("GET", "/gated/?in", None, 200),
    ] {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        let (head, _) = http.ask(method, path, &headers, b"").await;
        assert_eq!(head.status, status, "{method} {path} {origin:?}");
    }
}

#[actix_web::test]
async fn exchanges_count_as_connections() {
    let subject = Subject::default();
    let routes = UrlRouter::new().http("/", move |_: &Scope| Ok(subject.clone()));
    let mount = Mount::new(routes).unwrap().max_connections(2).connections_per_peer(1);
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut first = Http::open(server.address()).await;
    assert_eq!(first.get("/?do=headers,part,keep").await.status, 200);
    let (head, _) = Http::open(server.address()).await.ask("GET", "/?do=respond", &[], b"").await;
    assert_eq!(head.status, 429);
    drop(first);
    tell_until_left(&mount, &server).await;
    let (head, _) = Http::open(server.address()).await.ask("GET", "/?do=respond", &[], b"").await;
    assert_eq!(head.status, 201);
}
