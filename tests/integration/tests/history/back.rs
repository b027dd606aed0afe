//! A client that is back while its earlier connections, or what they have sent, are still on their way.

use std::sync::Arc;

use greenroom::{Layer, LayerConfig, MemoryLayer, Mount, history::History, prelude::*, testing::LiveServer};
use integration_tests::history::Reader;
use tokio::sync::Semaphore;

use super::{PATIENCE, Said};

/// Sends to the others of its group when it is let, and speaks slowly if its path says so.
#[derive(Clone)]
struct Late {
    asked: Arc<Semaphore>,
    may_send: Arc<Semaphore>,
    is_slow: bool,
}

impl Consumer for Late {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        if self.is_slow {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?.to_owned();
        self.asked.add_permits(1);
        let _may = self.may_send.acquire().await.unwrap();
        ctx.group_send_others(&room(), Said { text }).await
    }
}

#[event_handlers]
impl Late {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn room() -> GroupName {
    GroupName::new("late").unwrap()
}

fn late() -> Late {
    Late { asked: Arc::new(Semaphore::new(0)), may_send: Arc::new(Semaphore::new(0)), is_slow: false }
}

fn server(layer: &Layer, late: &Late) -> LiveServer {
    let late = late.clone();
    let make = move |scope: &Scope| {
        let is_slow = scope.param::<String>("how")? == "slow";
        Ok(Late { is_slow, ..late.clone() })
    };
    let mount = Mount::new(UrlRouter::new().route("/{how}/", make)).unwrap().layer(layer.clone());
    LiveServer::start(&mount, 1).unwrap()
}

fn layer() -> Layer {
    MemoryLayer::with_config(LayerConfig::new().history("late", History::last(10))).into()
}

async fn an_own_event_does_not_come_back(others: usize) {
    let layer = layer();
    let late = late();
    let server = server(&layer, &late);
    let mut client = Reader::new(&server, "/fast/").await;
    client.joined().await;
    let mut other = Reader::new(&server, "/fast/").await;
    // With many of them the group is served in slices.
    let mut crowd = Vec::new();
    for _ in 0..others {
        crowd.push(Reader::new(&server, "/fast/").await);
    }
    client.say("own").await;
    let asked = late.asked.acquire().await.unwrap();
    let mut client = Reader::again(&server, "/fast/", client.cut()).await;
    client.answered().await;
    assert_eq!(client.outcome(), "recovered");
    late.may_send.add_permits(1);
    assert_eq!(other.text().await, "own");
    let text = "after".to_owned();
    layer.group_send(&room(), Said { text }).await.unwrap();
    assert_eq!(client.text().await, "after");
    drop((asked, crowd));
}

#[actix_web::test]
async fn an_own_event_does_not_come_back_to_a_client_that_is_back() {
    an_own_event_does_not_come_back(0).await;
}

#[actix_web::test]
async fn an_own_event_does_not_come_back_in_a_large_group() {
    an_own_event_does_not_come_back(1_000).await;
}

/// The page's old connection is ended at once, also if an attempt between got no further than its greeting.
#[actix_web::test]
async fn all_earlier_connections_are_ended() {
    let layer = layer();
    let server = server(&layer, &late());
    let mut old = Reader::new(&server, "/fast/").await;
    old.joined().await;
    let between = Reader::again(&server, "/slow/", old.memory.clone()).await.cut();
    assert_eq!(between.was.len(), 2, "it has been greeted");
    let mut new = Reader::again(&server, "/fast/", between).await;
    new.answered().await;
    let closed = tokio::time::timeout(PATIENCE, old.closed()).await.expect("it is ended");
    assert_eq!(closed, (1000, "superseded".to_owned()));
}

/// A program that sets no limit to the memory of its histories.
#[actix_web::test]
async fn endless_memory_keeps_all() {
    for memory in [usize::MAX, isize::MAX as usize, 1 << 40] {
        let config = LayerConfig::new().history("late", History::last(100)).history_memory(memory);
        let layer = Layer::from(MemoryLayer::with_config(config));
        for number in 0..50 {
            layer.group_send(&room(), Said { text: number.to_string() }).await.unwrap();
        }
        let kept = layer.history(&room()).limit(100).read().await.unwrap();
        assert_eq!(kept.events.len(), 50, "{memory}");
    }
}
