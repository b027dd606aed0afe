//! A client that was written from the protocol alone goes on after a loss.

use std::time::Duration;

use greenroom::{
    Fallback, Layer, LayerConfig, MemoryLayer, Mount, history::History, prelude::*, testing::LiveServer,
};
use integration_tests::clients::PythonResuming;

const TRANSPORTS: [&str; 3] = ["events", "long", "poll"];

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    number: usize,
}

/// What is said twice by a handler.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Twice {
    number: usize,
}

struct Guest {
    room: GroupName,
}

impl Consumer for Guest {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.room.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?.to_owned())
    }
}

#[event_handlers]
impl Guest {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.number.to_string())
    }

    async fn twice(&mut self, event: &Twice, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("{} a", event.number))?;
        ctx.send_text(format!("{} b", event.number))
    }
}

fn room() -> GroupName {
    GroupName::new("guests").unwrap()
}

fn layer(history: History) -> Layer {
    MemoryLayer::with_config(LayerConfig::new().history("guests", history)).into()
}

fn server(layer: &Layer) -> LiveServer {
    let routes = UrlRouter::new().route("/", |_: &Scope| Ok(Guest { room: room() }));
    let mount = Mount::new(routes).unwrap().layer(layer.clone());
    LiveServer::start(&mount.fallback(Fallback::new().wait(Duration::from_millis(100))), 2).unwrap()
}

async fn say(layer: &Layer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        layer.group_send(&room(), Said { number }).await.unwrap();
    }
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[actix_web::test]
async fn what_was_missed_comes_once_and_in_order() {
    for transport in TRANSPORTS {
        let layer = layer(History::last(1000));
        let server = server(&layer);
        let mut client = PythonResuming::new(transport);
        assert!(!client.connect(server.address(), "/").await, "there was nothing to recover");
        say(&layer, 0..3).await;
        layer.group_send(&room(), Twice { number: 3 }).await.unwrap();
        // The client goes on in the middle of an event, of which it has the first message.
        assert_eq!(client.texts(4).await, ["0", "1", "2", "3 a"]);
        say(&layer, 4..20).await;
        assert!(client.connect(server.address(), "/").await);
        say(&layer, 20..30).await;
        assert_eq!(client.texts(1).await, ["3 b"]);
        assert_eq!(client.texts(26).await, texts(4..30));
        // Its connection before was ended, so it hears nothing twice.
        assert!(client.connect(server.address(), "/").await);
        say(&layer, 30..31).await;
        assert_eq!(client.texts(1).await, ["30"]);
        assert_eq!(client.lost().await, [""; 0]);
    }
}

#[actix_web::test]
async fn what_is_lost_is_said() {
    for transport in TRANSPORTS {
        let short = layer(History::last(3));
        let first = server(&short);
        let mut client = PythonResuming::new(transport);
        client.connect(first.address(), "/").await;
        say(&short, 0..1).await;
        assert_eq!(client.texts(1).await, ["0"]);
        // A history keeps more while a member has not got it.
        client.close().await;
        first.wait_until_empty().await;
        say(&short, 1..6).await;
        assert!(!client.connect(first.address(), "/").await);
        assert_eq!(client.lost().await, ["trimmed"]);
        say(&short, 6..7).await;
        assert_eq!(client.texts(1).await, ["6"]);
        // Another server knows nothing of this client.
        let other = layer(History::last(3));
        let second = server(&other);
        assert!(!client.connect(second.address(), "/").await);
        assert_eq!(client.lost().await, ["epoch"]);
        say(&other, 0..1).await;
        assert_eq!(client.texts(1).await, ["0"]);
    }
}
