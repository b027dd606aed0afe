//! The scope of a handshake: who may connect, what a consumer sees, and what it adds to the answer.

use cookie::Cookie;
use greenroom::{Accept, cookie, middleware::AllowedHostsOriginValidator, prelude::*, testing::LiveServer};
use integration_tests::raw::{Raw, Request, Response};

use super::{ask, serve};

/// Accepts with the subprotocol that the query names, and sends the client what it sees.
#[derive(NoEvents)]
struct Mirror;

impl Consumer for Mirror {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        let scope = ctx.scope();
        let mut accept = Accept::new().header("X-Room", "lobby").header("X-Room", "attic");
        if let Some(name) = scope.query_param("protocol") {
            accept = accept.subprotocol(name);
        }
        scope.set_cookie(Cookie::new("seen", "1"))?;
        let seen = serde_json::json!({
            "path": scope.path(),
            "query": scope.query_string(),
            "room": scope.param_str("room"),
            "agent": scope.header("user-agent"),
            "session": scope.cookie("session").map(|cookie| cookie.value().to_owned()),
            "subprotocols": scope.subprotocols().collect::<Vec<_>>(),
            "peer": scope.peer().map(|peer| peer.ip().to_string()),
        });
        ctx.accept_with(accept)?;
        ctx.send_json(&seen)
    }
}

fn mirror() -> LiveServer {
    serve(UrlRouter::new().route("/room/{room}/", |_: &Scope| Ok(Mirror)))
}

async fn offer(server: &LiveServer, wanted: &str, offered: &str) -> Response {
    let request = Request::new(&format!("/room/1/?protocol={wanted}"));
    ask(server, &request.and("Sec-WebSocket-Protocol", offered)).await
}

/// Mirrors daphne's test_http_bits and Channels' test_connection_scope.
#[actix_web::test]
async fn a_consumer_sees_the_request() {
    let server = mirror();
    let request = Request::new("/room/caf%C3%A9/?page=3&q=a%20b")
        .and("User-Agent", "tests")
        .and("Cookie", "theme=dark; session=abc")
        .and("Sec-WebSocket-Protocol", "chat.v2, chat.v1");
    let mut client = Raw::open(server.address()).await;
    assert_eq!(client.ask(&request).await.status, 101);
    let seen: serde_json::Value = serde_json::from_str(&client.next_text().await).unwrap();
    let expected = serde_json::json!({
        "path": "/room/café/",
        "query": "page=3&q=a%20b",
        "room": "café",
        "agent": "tests",
        "session": "abc",
        "subprotocols": ["chat.v2", "chat.v1"],
        "peer": "127.0.0.1",
    });
    assert_eq!(seen, expected);
}

/// Mirrors daphne's test_subprotocols.
#[actix_web::test]
async fn a_consumer_chooses_one_of_the_offered_subprotocols() {
    let server = mirror();
    let response = offer(&server, "chat.v1", "chat.v2, chat.v1").await;
    assert_eq!((response.status, response.header("Sec-WebSocket-Protocol")), (101, Some("chat.v1")));
    let none = ask(&server, &Request::new("/room/1/").and("Sec-WebSocket-Protocol", "chat.v1")).await;
    assert_eq!(
        (none.status, none.header("Sec-WebSocket-Protocol")),
        (101, None),
        "a consumer need not choose a subprotocol"
    );
}

#[actix_web::test]
async fn choosing_a_subprotocol_that_was_not_offered_is_500() {
    let server = mirror();
    assert_eq!(offer(&server, "chat.v3", "chat.v2, chat.v1").await.status, 500);
    assert_eq!(ask(&server, &Request::new("/room/1/?protocol=chat.v1")).await.status, 500);
}

#[actix_web::test]
async fn an_invalid_list_of_subprotocols_is_refused() {
    let server = mirror();
    for offered in ["a, a", "a b", "a/b", "a;q=1"] {
        assert_eq!(offer(&server, "a", offered).await.status, 400, "{offered:?}");
    }
}

/// Mirrors Channels' test_accept_headers and test_set_cookie. Daphne leaves both out of the answer.
#[actix_web::test]
async fn headers_and_cookies_of_the_accept_arrive() {
    let response = ask(&mirror(), &Request::new("/room/1/")).await;
    assert_eq!(response.status, 101);
    assert_eq!(response.all("X-Room"), ["lobby", "attic"]);
    let cookie = response.header("Set-Cookie").expect("a cookie");
    assert!(cookie.starts_with("seen=1; ") && cookie.contains("Path=/"), "{cookie}");
}

/// Mirrors a part of Channels' test_origin_validator.
#[actix_web::test]
async fn pages_of_other_sites_may_not_connect() {
    let server = mirror();
    let own = server.address().to_string();
    let from = |origin: &str| Request::new("/room/1/").and("Origin", origin);
    assert_eq!(ask(&server, &from(&format!("http://{own}"))).await.status, 101);
    assert_eq!(
        ask(&server, &Request::new("/room/1/")).await.status,
        101,
        "a client without an Origin is not a browser"
    );
    let foreign =
        ["http://evil.example", &format!("http://{own}.evil.example"), "http://127.0.0.1:1", "null", ""];
    for origin in foreign {
        assert_eq!(ask(&server, &from(origin)).await.status, 403, "{origin:?}");
    }
}

#[actix_web::test]
async fn listed_sites_may_connect() {
    let routes = UrlRouter::new()
        .route("/room/{room}/", |_: &Scope| Ok(Mirror))
        .wrap(AllowedHostsOriginValidator::new([".friend.example"]));
    let server = serve(routes);
    let from = |origin: &str| Request::new("/room/1/").and("Origin", origin);
    assert_eq!(ask(&server, &from("https://www.friend.example")).await.status, 101);
    assert_eq!(ask(&server, &from("https://evil.example")).await.status, 403);
    assert_eq!(
        ask(&server, &Request::new("/room/1/")).await.status,
        403,
        "with a list, an Origin is required"
    );
}
