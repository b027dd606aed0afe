//! How often an event that came from a server is decoded.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use greenroom::{Envelope, Mount, prelude::*, testing::WebsocketCommunicator};
use serde::Deserializer;

/// How often a text was decoded, in both types together.
static DECODED: AtomicUsize = AtomicUsize::new(0);

fn counted<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    DECODED.fetch_add(1, Relaxed);
    String::deserialize(from)
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    #[serde(deserialize_with = "counted")]
    text: String,
}

/// The same event as another Rust type.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("said")]
struct Heard {
    #[serde(deserialize_with = "counted")]
    text: String,
}

struct Speaker;

impl Consumer for Speaker {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }
}

#[event_handlers]
impl Speaker {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.text.clone())
    }
}

struct Listener;

impl Consumer for Listener {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }
}

#[event_handlers]
impl Listener {
    async fn said(&mut self, event: &Heard, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.text.clone())
    }
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

/// Counts the decodings of two events from the wire by this many members of each type. The first event fits, and the
/// second one does not.
async fn decodings(speakers: usize, listeners: usize) -> (usize, usize) {
    let routes = UrlRouter::new()
        .route("/speaker", |_: &Scope| Ok(Speaker))
        .route("/listener", |_: &Scope| Ok(Listener));
    let mount = Mount::new(routes).unwrap();
    let mut clients = Vec::new();
    for (path, members) in [("/speaker", speakers), ("/listener", listeners)] {
        for _ in 0..members {
            let mut client = WebsocketCommunicator::new(&mount, path);
            client.connect().await.unwrap();
            clients.push(client);
        }
    }
    let layer = mount.default_layer();
    let fit = async |clients: &mut [WebsocketCommunicator]| {
        let before = DECODED.load(Relaxed);
        let event = Envelope::from_json(r#"{"type":"said","text":"hello"}"#).unwrap();
        layer.group_send(&room(), event).await.unwrap();
        for client in clients {
            assert_eq!(client.receive_text().await.unwrap(), "hello");
        }
        DECODED.load(Relaxed) - before
    };
    let fitting = fit(&mut clients).await;

    let before = DECODED.load(Relaxed);
    let unfit = Envelope::from_json(r#"{"type":"said","text":"hello","text":"again"}"#).unwrap();
    layer.group_send(&room(), &unfit).await.unwrap();
    // An event that fits follows, so all members have refused the other one.
    fit(&mut clients).await;
    assert_eq!(layer.metrics().unhandled, clients.len() as u64);
    (fitting, DECODED.load(Relaxed) - before - fitting)
}

#[actix_web::test]
async fn an_event_from_a_server_is_decoded_once_for_each_type() {
    assert_eq!(decodings(50, 0).await, (1, 1));
    assert_eq!(decodings(25, 25).await, (2, 2));
}
