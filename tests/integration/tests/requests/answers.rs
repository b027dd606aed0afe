//! What a request is answered with, in each case.

use greenroom::{
    Answer, Limits, Mount, Request, RequestError,
    close::CloseCode,
    prelude::*,
    testing::{CommunicatorError, WebsocketCommunicator},
};
use integration_tests::{Gate, log};
use serde_json::{Value, json};

use super::{Ask, Desk};

async fn connected(mount: &Mount) -> WebsocketCommunicator {
    let mut client = WebsocketCommunicator::new(mount, "/");
    client.connect().await.unwrap();
    client
}

async fn desk_with(limits: Limits) -> (WebsocketCommunicator, Gate) {
    let desk = Desk::default();
    let gate = desk.gate.clone();
    let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(desk.clone()));
    (connected(&Mount::new(routes).unwrap().limits(limits)).await, gate)
}

async fn desk() -> (WebsocketCommunicator, Gate) {
    desk_with(Limits::new()).await
}

fn refused(code: &str, text: &str) -> CommunicatorError {
    CommunicatorError::Refused { code: code.to_owned(), text: text.to_owned() }
}

fn wait_for(ask: Ask) -> Ask {
    Ask::Wait(Box::new(ask))
}

#[actix_web::test]
async fn an_event_is_answered_in_the_form_that_members_get() {
    let (mut client, _gate) = desk().await;
    let answer: Value = client.request(&Ask::Event("hi".into())).await.unwrap();
    assert_eq!(answer, json!({"type": "aloud", "text": "hi"}));
}

#[actix_web::test]
async fn answers_are_found_among_messages_and_other_answers() {
    let (mut client, gate) = desk().await;
    let late = client.send_request(&wait_for(Ask::Echo("late".into())));
    gate.visited().await;
    assert_eq!(client.request::<String>(&Ask::Say("early".into())).await.unwrap(), "early");
    gate.open();
    assert_eq!(client.receive_answer::<String>(late).await.unwrap(), "late");
    assert_eq!(client.receive_text().await.unwrap(), "early", "the message came first, and is kept");
    let not_a_number = client.request::<u32>(&Ask::Echo("x".into())).await.unwrap_err();
    assert!(matches!(not_a_number, CommunicatorError::Json { .. }), "{not_a_number}");
    assert!(client.receive_nothing().await);
}

#[actix_web::test]
async fn an_error_of_the_hook_is_logged_and_the_client_gets_a_fixed_text() {
    log::capture();
    let (mut client, gate) = desk().await;
    let internal = || refused("internal", "the server could not answer");
    let channel = client.channel_name().unwrap().to_string();
    assert_eq!(client.request::<()>(&Ask::Fail).await.unwrap_err(), internal());
    log::logged(&["ERROR", "a request failed", &channel, "the password is 1234"]).await;

    for ask in [Ask::Fail, Ask::Panic] {
        let id = client.send_request(&wait_for(ask));
        gate.visited().await;
        gate.open();
        assert_eq!(client.receive_answer::<()>(id).await.unwrap_err(), internal());
    }
    log::logged(&["ERROR", "a request failed", &channel, "a request that panics"]).await;

    let binary = refused("invalid", "a text message is expected, but this one is binary");
    assert_eq!(client.request::<()>(&Ask::Input).await.unwrap_err(), binary);
    assert_eq!(client.request::<String>(&Ask::Echo("goes on".into())).await.unwrap(), "goes on");
}

#[actix_web::test]
async fn an_error_that_ends_a_hook_ends_the_connection_without_an_answer() {
    for (ask, code) in [(Ask::Stop, 1000), (Ask::Panic, 1011)] {
        let (mut client, _) = desk().await;
        let closed = client.request::<()>(&ask).await.unwrap_err();
        assert!(
            matches!(&closed, CommunicatorError::Closed { code: found, .. } if *found == CloseCode(code)),
            "{closed}"
        );
    }
    let (mut client, gate) = desk().await;
    let id = client.send_request(&wait_for(Ask::Stop));
    gate.visited().await;
    gate.open();
    let closed = client.receive_answer::<()>(id).await.unwrap_err();
    assert!(matches!(closed, CommunicatorError::Closed { code: CloseCode::NORMAL, .. }), "{closed}");
}

#[actix_web::test]
async fn an_answer_may_give_way_to_a_later_one() {
    let (mut client, gate) = desk().await;
    let id = client.send_request(&wait_for(wait_for(Ask::Echo("nested".into()))));
    gate.visited().await;
    gate.open();
    assert_eq!(client.receive_answer::<String>(id).await.unwrap(), "nested");
}

#[actix_web::test]
async fn only_so_many_requests_of_a_connection_wait_at_once() {
    let (mut client, gate) = desk_with(Limits::new().tasks(2)).await;
    let waiting = [1, 2].map(|_| client.send_request(&wait_for(Ask::Echo("waited".into()))));
    for _ in waiting {
        gate.visited().await;
    }
    let busy = client.request::<()>(&wait_for(Ask::Stop)).await.unwrap_err();
    assert_eq!(busy, refused("busy", "too many requests wait for an answer"));
    assert_eq!(client.request::<String>(&Ask::Echo("now".into())).await.unwrap(), "now");
    for id in waiting {
        gate.open();
        assert_eq!(client.receive_answer::<String>(id).await.unwrap(), "waited");
    }
    let again = client.send_request(&wait_for(Ask::Echo("room again".into())));
    gate.open();
    assert_eq!(client.receive_answer::<String>(again).await.unwrap(), "room again");
}

#[actix_web::test]
async fn a_request_without_a_valid_id_goes_to_invalid() {
    let (mut client, _) = desk().await;
    for frame in [
        r#"{"type":"greenroom.request","input":"refuse"}"#,
        r#"{"type":"greenroom.request","id":"1","input":"refuse"}"#,
        r#"{"type":"greenroom.request","id":-1,"input":"refuse"}"#,
        r#"{"type":"greenroom.request","id":1.5,"input":"refuse"}"#,
        r#"{"type":"greenroom.request","id":9007199254740992,"input":"refuse"}"#,
        r#"{"type":"greenroom.request","id":1,"id":2,"input":"refuse"}"#,
        r#"{"type":"greenroom.request","id":1,"input":"#,
    ] {
        client.send_text(frame);
        let answer: Value = client.receive_json().await.unwrap();
        assert_eq!(answer["type"], "error", "{frame} {answer}");
    }
    // The input is missing, and the id is valid: this can be answered.
    client.send_text(r#"{"type":"greenroom.request","id":9007199254740991}"#);
    let error = client.receive_answer::<()>(9_007_199_254_740_991).await.unwrap_err();
    assert!(
        matches!(&error, CommunicatorError::Refused { code, text } if code == "invalid"
        && text.contains("missing field `input`")),
        "{error}"
    );
    assert!(client.receive_nothing().await);
}

#[actix_web::test]
async fn an_id_that_comes_twice_is_answered_twice() {
    let (mut client, _) = desk().await;
    for text in ["a", "b"] {
        client.send_json(&json!({"type": "greenroom.request", "id": 5, "input": {"echo": text}}));
    }
    for text in ["a", "b"] {
        assert_eq!(client.receive_answer::<String>(5).await.unwrap(), text);
    }
}

/// A consumer that knows nothing of requests.
#[derive(NoEvents, Default)]
struct Sum(u32);

impl JsonConsumer for Sum {
    type Input = u32;

    async fn receive_json(&mut self, number: u32, ctx: &mut Context) -> Result<()> {
        if number == 13 {
            Err(RequestError::new("unlucky", "not this one"))?;
        }
        self.0 += number;
        ctx.send_json(&self.0)
    }
}

#[actix_web::test]
async fn without_a_hook_a_request_is_a_message_that_is_acknowledged() {
    let mut client = WebsocketCommunicator::of(|_: &Scope| Ok(Sum::default()));
    client.connect().await.unwrap();
    client.send_json(&2);
    client.request::<()>(&3).await.unwrap();
    assert_eq!(client.receive_json::<u32>().await.unwrap(), 2);
    assert_eq!(client.receive_json::<u32>().await.unwrap(), 5);
    assert_eq!(client.request::<()>(&13).await.unwrap_err(), refused("unlucky", "not this one"));
    client.send_json(&13);
    let closed = client.receive().await.unwrap_err();
    assert!(matches!(closed, CommunicatorError::Closed { code: CloseCode::INTERNAL, .. }), "{closed}");
}

/// Reads requests without the help of [`JsonConsumer`].
#[derive(NoEvents)]
struct Plain;

impl Plain {
    async fn ask(&self, request: &Request) -> Result<Answer> {
        let (a, b): (u32, u32) = request.input()?;
        let sum = a.checked_add(b).ok_or_else(|| RequestError::new("overflow", "too large"))?;
        Answer::json(&sum)
    }
}

impl Consumer for Plain {
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let Some(request) = Request::read(&message)? else { return ctx.send(message) };
        let answer = self.ask(&request).await;
        request.answer(answer, ctx)
    }
}

#[actix_web::test]
async fn a_plain_consumer_can_answer_too() {
    let mut client = WebsocketCommunicator::of(|_: &Scope| Ok(Plain));
    client.connect().await.unwrap();
    client.send_text("a message");
    client.send_bytes(br#"{"type":"greenroom.request","id":1,"input":[1,2]}"#);
    assert_eq!(client.request::<u32>(&(1, 2)).await.unwrap(), 3);
    assert_eq!(client.receive_text().await.unwrap(), "a message");
    assert_eq!(client.receive_bytes().await.unwrap().len(), 49, "a binary message is no request");
    assert_eq!(client.request::<u32>(&(u32::MAX, 2)).await.unwrap_err(), refused("overflow", "too large"));
    let invalid = client.request::<u32>("x").await.unwrap_err();
    assert!(matches!(&invalid, CommunicatorError::Refused { code, .. } if code == "invalid"), "{invalid}");
    client.send_text(r#"{"type":"greenroom.request","id":null}"#);
    let closed = client.receive().await.unwrap_err();
    assert!(matches!(closed, CommunicatorError::Closed { code: CloseCode::INVALID_DATA, .. }), "{closed}");
}
