//! Whole messages and events that a consumer cannot use.

use greenroom::{Envelope, close::Cause, error::InputError, prelude::*};
use integration_tests::{
    eventually, log,
    raw::{BINARY, FIN, Raw, masked},
};

use super::{Room, Said, room};

/// An event that no member has a handler for.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("other.thing")]
struct OtherThing {}

#[derive(Deserialize)]
struct Order {
    item: String,
    count: u8,
}

/// Reads JSON itself.
#[derive(NoEvents)]
struct Reader;

impl Consumer for Reader {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text(ctx.channel_name().as_str())
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let order: Order = message.json()?;
        ctx.send_text(format!("{} x {}", order.count, order.item))
    }
}

/// Lets the framework read JSON into its type.
#[derive(NoEvents)]
struct Typed;

impl JsonConsumer for Typed {
    type Input = Order;

    async fn receive_json(&mut self, order: Order, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("{} x {}", order.count, order.item))
    }
}

/// Answers bad input in its own words.
#[derive(NoEvents)]
struct Polite;

impl JsonConsumer for Polite {
    type Input = Order;

    async fn receive_json(&mut self, _: Order, ctx: &mut Context) -> Result<()> {
        ctx.send_text("thank you")
    }

    async fn invalid(&mut self, error: InputError, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("I beg your pardon, {error}"))
    }
}

/// Ends when it gets an unknown event.
struct Strict;

impl Consumer for Strict {
    const STRICT: bool = true;

    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        ctx.send_text(ctx.channel_name().as_str())
    }
}

#[event_handlers]
impl Strict {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.text.as_str())
    }
}

async fn open() -> Room {
    let routes = UrlRouter::new()
        .route("/reader/", |_: &Scope| Ok(Reader))
        .route("/typed/", |_: &Scope| Ok(Typed))
        .route("/polite/", |_: &Scope| Ok(Polite))
        .route("/strict/", |_: &Scope| Ok(Strict));
    Room::with(routes).await
}

const GOOD: &str = r#"{"item":"tea","count":2}"#;
const BAD: [&str; 5] = ["", "tea", "[1", r#"{"item":"tea"}"#, r#"{"item":"tea","count":999}"#];

/// Channels raises JSONDecodeError and closes with 1011. Mirrors test_json_websocket_consumer.
#[actix_web::test]
async fn invalid_json_closes_with_1007_and_says_why() {
    let mut room = open().await;
    for bad in BAD {
        let (mut client, channel) = room.enter_by("/reader/").await;
        client.text(GOOD).await;
        assert_eq!(client.next_text().await, "2 x tea");
        client.text(bad).await;
        let (code, reason) = client.closed().await;
        let why = reason.strip_prefix("the message is not the expected JSON: ").unwrap_or_default();
        assert!(code == 1007 && why.contains(" at line "), "{code} {reason}");
        assert!(
            bad.is_empty()
                || !bad.starts_with('{')
                || why.contains("missing field `count`")
                || why.contains("999"),
            "{why}"
        );
        assert!(reason.len() <= 123, "{reason}");
        log::logged(&[&channel, "the message is not the expected JSON: "]).await;
    }
    let (mut client, _) = room.enter_by("/reader/").await;
    client.send(&masked(FIN | BINARY, GOOD.as_bytes())).await;
    assert_eq!(
        client.closed().await,
        (1007, "a text message is expected, but this one is binary".to_owned())
    );
    room.lives(1).await;
}

/// JavaScript writes half of a surrogate pair so, for example if a text was cut in the middle of an emoji.
#[actix_web::test]
async fn half_an_emoji_does_not_end_a_connection() {
    let mut room = open().await;
    let (mut client, _) = room.enter_by("/reader/").await;
    client.text(r#"{"item":"tea\ud83d","count":2,"price":NaN}"#).await;
    assert_eq!(client.next_text().await, "2 x tea\u{fffd}");
    room.lives(1).await;
}

#[actix_web::test]
async fn invalid_typed_input_is_answered_and_the_connection_lives() {
    let mut room = open().await;
    let mut client = Raw::connect(room.server.address(), "/typed/").await;
    for bad in BAD {
        client.text(bad).await;
        let answer = client.next_text().await;
        assert!(
            answer.starts_with(r#"{"type":"error","reason":"the message is not the expected JSON: "#),
            "{answer}"
        );
    }
    client.send(&masked(FIN | BINARY, GOOD.as_bytes())).await;
    let answer = r#"{"type":"error","reason":"a text message is expected, but this one is binary"}"#;
    assert_eq!(client.next_text().await, answer);
    client.text(GOOD).await;
    assert_eq!(client.next_text().await, "2 x tea");
    room.lives(1).await;
}

#[actix_web::test]
async fn a_consumer_can_answer_bad_input_itself() {
    let mut room = open().await;
    let mut client = Raw::connect(room.server.address(), "/polite/").await;
    client.text("tea!").await;
    assert_eq!(client.next_text().await, "I beg your pardon, the message is not the expected JSON");
    client.text(GOOD).await;
    assert_eq!(client.next_text().await, "thank you");
    room.lives(1).await;
}

/// Rule 5, by default mended: an event without a handler is counted and logged.
#[actix_web::test]
async fn an_event_without_a_handler_is_counted_and_the_connection_lives() {
    let mut room = open().await;
    let (mut client, _) = room.enter().await;
    room.layer.group_send(&super::room(), OtherThing {}).await.unwrap();
    eventually("both members count it", || room.layer.metrics().unhandled == 2).await;
    log::logged(&["no handler for an event", "other.thing", "Member"]).await;
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
    assert_eq!(room.neighbour.text().await, "hello");
    room.lives(2).await;
}

/// Another program may send an event with the same name and other fields.
#[actix_web::test]
async fn an_event_with_other_fields_is_counted_and_the_connection_lives() {
    let mut room = open().await;
    let (mut client, _) = room.enter().await;
    let other = Envelope::from_json(r#"{"type":"said","words":["hello"]}"#).unwrap();
    room.layer.group_send(&super::room(), other).await.unwrap();
    eventually("both members count it", || room.layer.metrics().unhandled == 2).await;
    log::logged(&["an event does not fit its handler", "missing field `text`"]).await;
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
    assert_eq!(room.neighbour.text().await, "hello");
    room.lives(2).await;
}

/// Rule 5, as in Channels. Mirrors test_block_underscored_type_function_call: an event cannot have such a type.
#[actix_web::test]
async fn a_strict_consumer_ends_with_1011_at_an_unknown_event() {
    let unfit = || Envelope::from_json(r#"{"type":"said","words":["hello"]}"#).unwrap();
    for (event, text) in [
        (Envelope::new(OtherThing {}), r#"no handler for message type \"other.thing\""#),
        (unfit(), "does not have the expected fields"),
    ] {
        let mut room = open().await;
        let (mut client, channel) = room.enter_by("/strict/").await;
        room.lives(2).await;
        room.layer.group_send(&super::room(), event).await.unwrap();
        assert_eq!(client.closed().await, (1011, String::new()));
        log::logged(&["ERROR", &channel, &text.replace('\\', "")]).await;
        room.lives(1).await;
    }
    for name in ["_private", ".private", ""] {
        let text = serde_json::json!({ "type": name }).to_string();
        assert!(Envelope::from_json(text).is_err(), "{name:?}");
    }
}

/// Rule 1: names are checked. Mirrors Channels' test_channel_and_group_name_validation.
#[actix_web::test]
async fn a_bad_group_name_closes_only_the_connection_that_uses_it() {
    let long = "x".repeat(100);
    for name in ["", "a b", "a!b", "a/b", "é", "a\n", &long] {
        let mut room = open().await;
        let (mut client, channel) = room.enter().await;
        client.text(&format!("join {name}")).await;
        assert_eq!(client.closed().await, (1011, String::new()), "{name:?}");
        assert_eq!(room.ended().await.cause, Cause::Error);
        log::logged(&["ERROR", &channel, "name"]).await;
        room.lives(1).await;
    }
    let mut room = open().await;
    let (mut client, _) = room.enter().await;
    client.text(&format!("join {}", "x".repeat(99))).await;
    client.text("hello").await;
    assert_eq!(client.next_text().await, "hello");
    assert_eq!(room.neighbour.text().await, "hello");
    room.lives(2).await;
}
