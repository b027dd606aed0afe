//! When messages are written: at the end of the turn, or at an interval.

use std::time::Duration;

use greenroom::{
    Flush, Limits, Mount,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator, pause},
};
use integration_tests::Client;
use tokio::time::Instant;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

struct Member;

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("{}, directly", message.text()?))?;
        ctx.group_send(&room(), Said { text: message.text()?.to_owned() }).await
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn room() -> GroupName {
    GroupName::new("room").expect("a good name")
}

fn mount(flush: Flush) -> Mount {
    let limits = Limits::new().flush(flush);
    Mount::new(UrlRouter::new().route_with("/", limits, |_: &Scope| Ok(Member))).expect("a good route")
}

/// How long a member waits for its own message.
async fn delay(flush: Flush) -> Duration {
    let mut client = WebsocketCommunicator::new(&mount(flush), "/");
    client.connect().await.expect("the consumer accepts");
    let sent = Instant::now();
    client.send_text("hello");
    assert_eq!(client.receive_text().await.unwrap(), "hello, directly");
    assert_eq!(client.receive_text().await.unwrap(), "hello");
    sent.elapsed()
}

#[actix_web::test]
async fn a_flush_by_turn_takes_no_time_and_a_flush_by_interval_waits_once() {
    pause();
    assert_eq!(delay(Flush::Turn).await, Duration::ZERO);
    let waited = delay(Flush::Every(Duration::from_millis(20))).await;
    // The timers of the runtime are exact to a millisecond.
    assert!((20..=21).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(
        delay(Flush::WhenBehind(Duration::from_millis(20))).await,
        Duration::ZERO,
        "the thread is not behind"
    );
}

#[actix_web::test]
async fn a_flush_interval_keeps_the_order_and_loses_nothing() {
    for flush in [Flush::Every(Duration::from_millis(3)), Flush::WhenBehind(Duration::from_millis(3))] {
        let server = LiveServer::start(&mount(flush), 1).expect("a free port");
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(Client::connect(&server, "/").await);
        }
        for number in 0..100 {
            clients[0].send(&number.to_string()).await;
        }
        let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        for client in &mut clients[1..] {
            for number in &numbers {
                assert_eq!(client.text().await, *number);
            }
        }
        // The sender's own copies come among its messages. Each of the two kinds is in order.
        let (mut direct, mut copies) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let text = clients[0].text().await;
            match text.strip_suffix(", directly") {
                Some(number) => direct.push(number.to_owned()),
                None => copies.push(text),
            }
        }
        assert_eq!((direct, copies), (numbers.clone(), numbers));
    }
}
