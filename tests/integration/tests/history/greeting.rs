//! What goes to a client before it is greeted. Nothing of it is dropped without a word.

use greenroom::{
    Layer, LayerConfig, Limits, MemoryLayer, Mount, history::History, prelude::*, testing::LiveServer,
};
use integration_tests::{Client, eventually, history::Reader};

const PARTS: usize = 200;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("greeting.chunk")]
struct Chunk {
    number: usize,
}

/// 16 KiB with a number at the beginning. So 100 of them are more than an outbox takes.
fn part(number: usize) -> String {
    format!("{number}:{}", "x".repeat(16 << 10))
}

/// In which way a consumer sends all parts while its client is not greeted.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// It does not send by itself. Its group does.
    Group,
    /// In `connect`, and waits each time until there is room.
    Ready,
    /// In `connect`, and does not wait.
    AtOnce,
}

struct Streamer(How);

impl Consumer for Streamer {
    fn groups(&self) -> Vec<GroupName> {
        vec![GroupName::new("feed").unwrap()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        for number in 0..if self.0 == How::Group { 0 } else { PARTS } {
            if self.0 == How::Ready {
                ctx.ready().await?;
            }
            ctx.send_text(part(number))?;
        }
        Ok(())
    }

    async fn receive(&mut self, _: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text("here")
    }
}

#[event_handlers]
impl Streamer {
    #[relay]
    fn greeting_chunk(event: &Chunk) -> Outgoing {
        Outgoing::text(part(event.number))
    }

    async fn greeting_wait(&mut self, _: &Wait, ctx: &mut Context) -> Result<()> {
        ctx.ready().await?;
        ctx.send_text("ready")
    }
}

/// Has a handler wait until its client has read enough.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("greeting.wait")]
struct Wait {}

fn layer() -> Layer {
    MemoryLayer::with_config(LayerConfig::new().history("room*", History::last(10))).into()
}

fn serve(layer: &Layer, how: How) -> LiveServer {
    LiveServer::start(&mount(layer, how), 1).unwrap()
}

fn mount(layer: &Layer, how: How) -> Mount {
    Mount::new(UrlRouter::new().route("/", move |_: &Scope| Ok(Streamer(how)))).unwrap().layer(layer.clone())
}

async fn feed(layer: &Layer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        layer.group_send(&GroupName::new("feed").unwrap(), Chunk { number }).await.unwrap();
    }
}

/// A client that has said that it comes back, and has not named its places yet. It is in its group.
async fn awaited(server: &LiveServer) -> Client {
    Reader::handshake(server, "/", true).await
}

async fn name_places(client: &mut Client) {
    client.send(r#"c{"resume":{"was":[],"logs":[]}}"#).await;
}

/// The numbers of the parts that come before a message.
async fn parts_before(client: &mut Client, end: &str) -> Vec<usize> {
    let mut parts = Vec::new();
    loop {
        let text = client.text().await;
        if text == format!("m{end}") {
            return parts;
        }
        if let Some(part) = text.strip_prefix('m') {
            parts.push(part.split(':').next().unwrap().parse().unwrap());
        }
    }
}

#[actix_web::test]
async fn a_stream_that_waits_for_its_client_comes_whole() {
    let server = serve(&layer(), How::Ready);
    let mut client = Reader::new(&server, "/").await;
    for number in 0..PARTS {
        assert!(client.text().await == part(number), "part {number}");
    }
}

#[actix_web::test]
async fn a_client_that_is_sent_too_much_at_once_is_closed() {
    let layer = layer();
    let server = serve(&layer, How::AtOnce);
    let mut client = Reader::handshake(&server, "/", false).await;
    assert_eq!(client.closed().await.0, 1013);
    assert_eq!(layer.metrics().too_slow, 1);
}

#[actix_web::test]
async fn a_client_that_does_not_name_its_places_while_too_much_is_relayed_is_closed() {
    let layer = layer();
    let server = serve(&layer, How::Group);
    let mut client = awaited(&server).await;
    // More than an outbox and the system's buffers, because a client that says nothing for 2 s is greeted all the same.
    feed(&layer, 0..400).await;
    assert_eq!(client.closed().await.0, 1013);
}

#[actix_web::test]
async fn what_fits_comes_behind_the_greeting() {
    let layer = layer();
    let server = serve(&layer, How::Group);
    let mut client = awaited(&server).await;
    feed(&layer, 0..60).await;
    name_places(&mut client).await;
    client.send("mping").await;
    assert!(client.text().await.starts_with('c'));
    assert!(parts_before(&mut client, "here").await.into_iter().eq(0..60));
    assert_eq!(layer.metrics().outbox_full, 0);
}

#[actix_web::test]
async fn the_oldest_are_dropped_before_the_greeting_as_after_it() {
    let layer = layer();
    let limits = Limits::new().overflow(greenroom::Overflow::DropOldest);
    let server = LiveServer::start(&mount(&layer, How::Group).limits(limits), 1).unwrap();
    let mut client = awaited(&server).await;
    feed(&layer, 0..100).await;
    name_places(&mut client).await;
    client.send("mping").await;
    let parts = parts_before(&mut client, "here").await;
    // On a busy machine the client is greeted in the middle, because 2 s have passed. Then the first ones come too.
    assert!(parts.is_sorted() && parts.last() == Some(&99), "{parts:?}");
    assert_eq!(layer.metrics().outbox_full, 100 - parts.len() as u64);
}

/// The handler waits for its client, and the client is greeted only after the handler, but for this.
#[actix_web::test]
async fn a_handler_that_waits_for_its_client_does_not_keep_it_from_being_greeted() {
    let layer = layer();
    let server = serve(&layer, How::Group);
    let mut client = awaited(&server).await;
    feed(&layer, 0..60).await;
    layer.group_send(&GroupName::new("feed").unwrap(), Wait {}).await.unwrap();
    assert!(parts_before(&mut client, "ready").await.into_iter().eq(0..60));
    name_places(&mut client).await;
    client.send("mping").await;
    assert!(parts_before(&mut client, "here").await.is_empty());
}

#[actix_web::test]
async fn what_waits_for_the_greeting_counts_in_the_budget() {
    let layer = layer();
    let server = LiveServer::start(&mount(&layer, How::Group).outbox_budget(4 << 20), 1).unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(awaited(&server).await);
    }
    // Each holds almost 1 MiB, of the 4 MiB that all may hold.
    feed(&layer, 0..60).await;
    eventually("some make room", || layer.metrics().over_budget > 0).await;
    drop(clients);
}
