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
    client.send_text("lost");
    let error = client.receive().await.unwrap_err();
    assert_eq!(error, CommunicatorError::NotConnected);
    assert!(error.to_string().contains("call connect() first"), "{error}");
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct Score {
    points: u32,
}

#[actix_web::test]
async fn a_message_is_read_as_an_event() {
    let mut client = connected().await;
    client.send_text(r#"{"type":"score","points":3}"#);
    assert_eq!(client.receive_event::<Score>().await.unwrap(), Score { points: 3 });
    for (text, reason) in [
        (r#"{"type":"chat.message","points":3}"#, r#"its type is "chat.message""#),
        (r#"{"points":3}"#, "the event has no `type`"),
        (r#"{"type":"score","points":"x"}"#, "does not have the expected fields"),
        ("hello", "an event must be a map"),
    ] {
        client.send_text(text);
        let error = client.receive_event::<Score>().await.unwrap_err();
        assert!(matches!(error, CommunicatorError::WrongEvent { expected: ["score"], .. }), "{error}");
        let shown = format!("{error:?}");
        assert!(shown.contains("is not the event score: ") && shown.contains(reason), "{shown}");
    }
    client.send_text("bytes");
    assert!(matches!(client.receive_event::<Score>().await, Err(CommunicatorError::WrongKind(_))));
}

#[actix_web::test]
async fn messages_are_skipped_until_one_fits() {
    let mut client = connected().await;
    for text in ["one", "bytes", "wanted", "behind"] {
        client.send_text(text);
    }
    let found = client.receive_until(|message| message.as_text() == Some("wanted")).await.unwrap();
    assert_eq!(found, Message::Text("wanted".into()));
    assert_eq!(client.receive_text().await.unwrap(), "behind", "nothing behind it is lost");
}

#[actix_web::test]
async fn if_no_message_fits_the_error_shows_what_came_within_the_timeout() {
    let mut client = connected().await;
    pause();
    let silence = client.receive_until(|_| true).await.unwrap_err();
    assert_eq!(silence, CommunicatorError::Timeout(Duration::from_secs(10)));
    client.send_text("one");
    client.send_text("bytes");
    let start = tokio::time::Instant::now();
    let error = client.receive_until(|_| false).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 10, "all messages share the time");
    let expected = r#"the message did not come, but 2 others: "one", 3 bytes, then nothing came for 10s"#;
    assert_eq!(error.to_string(), expected);
    for number in 0..20 {
        client.send_text(number.to_string());
    }
    client.send_text("close");
    let error = client.receive_until(|_| false).await.unwrap_err();
    assert!(
        matches!(&error, CommunicatorError::Unmatched { came, count: 20, .. } if came.len() == 16),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.starts_with(r#"the message did not come, but 20 others: … "4","#), "{text}");
    assert!(text.ends_with(r#""19", then the server closed with 4000, "as asked""#), "{text}");
}
