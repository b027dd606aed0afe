//! Promises of the testing kit to its users.

use std::time::Duration;

use greenroom::{
    Mount,
    close::CloseCode,
    middleware::{AllowedHostsOriginValidator, Stack, TrustedProxies},
    prelude::*,
    testing::{CommunicatorError, WebsocketCommunicator, pause},
};

/// Sends the kind of answer that it is asked for.
#[derive(NoEvents)]
struct Answers;

impl Consumer for Answers {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.text()? {
            "bytes" => ctx.send_bytes([1, 2, 3].as_slice().to_vec()),
            "json" => ctx.send_json(&[1, 2, 3]),
            "nothing" => Ok(()),
            "close" => ctx.close_with(4000, "as asked"),
            "peer" => ctx.send_text(format!("{:?} {}", ctx.scope().peer(), ctx.scope().scheme())),
            other => ctx.send_text(other.to_owned()),
        }
    }
}

async fn connected() -> WebsocketCommunicator {
    let mut client = WebsocketCommunicator::of(|_: &Scope| Ok(Answers));
    client.connect().await.unwrap();
    client
}

#[actix_web::test]
async fn text_bytes_and_json_come_as_they_were_sent() {
    let mut client = connected().await;
    client.send_text("hello");
    assert_eq!(client.receive_text().await.unwrap(), "hello");
    client.send_text("bytes");
    assert_eq!(client.receive_bytes().await.unwrap()[..], [1, 2, 3]);
    client.send_text("json");
    assert_eq!(client.receive_json::<Vec<u8>>().await.unwrap(), [1, 2, 3]);
    assert!(client.receive_nothing().await);
}

#[actix_web::test]
async fn errors_say_why_no_message_came() {
    let mut client = WebsocketCommunicator::of(|_: &Scope| Ok(Answers));
    assert_eq!(client.receive().await.unwrap_err(), CommunicatorError::Gone, "connect was not called");
    client.connect().await.unwrap();
    client.send_text("bytes");
    assert!(matches!(client.receive_text().await.unwrap_err(), CommunicatorError::WrongKind(_)));
    client.send_text("not json");
    let error = client.receive_json::<u8>().await.unwrap_err();
    assert!(error.to_string().contains("\"not json\""), "{error}");
    client.send_text("close");
    assert!(!client.receive_nothing().await, "the end counts as something");
    let closed = CommunicatorError::Closed { code: CloseCode(4000), reason: "as asked".into() };
    assert_eq!(client.receive().await.unwrap_err(), closed);
}

#[actix_web::test]
async fn a_timeout_leaves_the_consumer_running() {
    let mut client = connected().await;
    pause();
    client.send_text("nothing");
    assert_eq!(client.receive().await.unwrap_err(), CommunicatorError::Timeout(Duration::from_secs(10)));
    client.send_text("still there");
    assert_eq!(client.receive_text().await.unwrap(), "still there");
}

#[actix_web::test]
async fn the_communicator_uses_the_mounts_routes_and_middleware() {
    let proxies = TrustedProxies::new(["10.0.0.0/8"]);
    let origins = AllowedHostsOriginValidator::new(["example.com"]);
    let routes = UrlRouter::new()
        .route("/answers/{id:int}/", |_: &Scope| Ok(Answers))
        .wrap(Stack::new().with(proxies).with(origins));
    let mount = Mount::new(routes).unwrap();
    let status = async |path: &str, origin: &str| {
        let mut client = WebsocketCommunicator::new(&mount, path).header("origin", origin);
        client.connect().await.map_err(|rejection| rejection.status()).map(|_| ())
    };
    assert_eq!(status("/answers/1/", "https://example.com").await, Ok(()));
    assert_eq!(status("/answers/1/", "https://evil.example").await, Err(403));
    assert_eq!(status("/answers/x/", "https://example.com").await, Err(404));
}

#[actix_web::test]
async fn a_trusted_proxy_names_the_client() {
    let routes =
        UrlRouter::new().route("/", |_: &Scope| Ok(Answers)).wrap(TrustedProxies::new(["10.0.0.0/8"]));
    let mount = Mount::new(routes).unwrap();
    for (peer, expected) in
        [("10.1.2.3:99", "Some(192.0.2.7:0) https"), ("203.0.113.5:99", "Some(203.0.113.5:99) http")]
    {
        let mut client = WebsocketCommunicator::new(&mount, "/")
            .with_scope(|scope| scope.peer(peer.parse().unwrap()))
            .header("x-forwarded-for", "192.0.2.7")
            .header("x-forwarded-proto", "https");
        client.connect().await.unwrap();
        client.send_text("peer");
        assert_eq!(client.receive_text().await.unwrap(), expected);
    }
}
