//! Many events at once, over real sockets, with one thread and with four.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use greenroom::{
    LayerConfig, MemoryLayer, Mount,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator},
};
use integration_tests::{Client, Gate, eventually};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

/// A member whose handler runs for each event.
struct Handler(GroupName);

impl Consumer for Handler {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.group_send(&self.0, Said { text: message.text()?.to_owned() }).await
    }
}

#[event_handlers]
impl Handler {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send_text(event.text.clone())
    }
}

/// A member that passes events on. The text `panic` makes its relay panic. A text that starts with `others` is for the
/// others.
struct Relay(GroupName);

impl Consumer for Relay {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.0.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let said = Said { text: message.text()?.to_owned() };
        if said.text.starts_with("others") {
            return ctx.group_send_others(&self.0, said).await;
        }
        ctx.group_send(&self.0, said).await
    }
}

#[event_handlers]
impl Relay {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        assert_ne!(event.text, "panic", "the test asked for it");
        Outgoing::text(event.text.clone())
    }
}

fn mount() -> Mount {
    let routes = UrlRouter::new()
        .route("/handler/{room}/", |scope: &Scope| Ok(Handler(scope.param("room")?)))
        .route("/relay/{room}/", |scope: &Scope| Ok(Relay(scope.param("room")?)));
    Mount::new(routes).unwrap()
}

async fn members(server: &LiveServer, path: &str, count: usize) -> Vec<Client> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Client::connect(server, path).await);
    }
    members
}

#[actix_web::test]
async fn twenty_members_lose_nothing_of_a_burst_of_ten_thousand_events() {
    const FRAMES: usize = 10_000;
    for threads in [1, 4] {
        let mount = mount();
        let server = LiveServer::start(&mount, threads).unwrap();
        let mut members = members(&server, "/handler/burst/", 20).await;
        let mut sender = members.pop().unwrap();
        let readers: Vec<_> = members
            .into_iter()
            .map(|mut member| {
                actix_web::rt::spawn(async move {
                    for expected in 0..FRAMES {
                        assert_eq!(member.text().await, expected.to_string());
                    }
                })
            })
            .collect();
        for frame in 0..FRAMES {
            sender.feed(&frame.to_string()).await;
        }
        sender.flush().await;
        for expected in 0..FRAMES {
            assert_eq!(sender.text().await, expected.to_string(), "with {threads} threads");
        }
        for reader in readers {
            reader.await.unwrap();
        }
        let metrics = mount.default_layer().metrics();
        assert_eq!((metrics.inbox_full, metrics.too_slow, metrics.thread_behind), (0, 0, 0));
    }
}

#[actix_web::test]
async fn members_lose_nothing_of_a_burst_from_another_thread() {
    const FRAMES: usize = 10_000;
    for threads in [1, 4] {
        let mount = mount();
        let server = LiveServer::start(&mount, threads).unwrap();
        let mut members = members(&server, "/handler/burst/", 20).await;
        let layer = mount.default_layer().clone();
        let sender = std::thread::spawn(move || {
            let room = GroupName::new("burst").unwrap();
            for frame in 0..FRAMES {
                layer.group_send_blocking(&room, Said { text: frame.to_string() }).unwrap();
            }
        });
        for expected in 0..FRAMES {
            for member in &mut members {
                assert_eq!(member.text().await, expected.to_string(), "with {threads} threads");
            }
        }
        sender.join().unwrap();
    }
}

#[actix_web::test]
async fn events_of_one_sender_and_group_arrive_in_order_on_every_thread() {
    const EACH: usize = 300;
    for path in ["/handler/fifo/", "/relay/fifo/"] {
        let mount = mount();
        let server = LiveServer::start(&mount, 4).unwrap();
        let members = members(&server, path, 8).await;
        let count = members.len();
        let running: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|(number, mut member)| {
                actix_web::rt::spawn(async move {
                    for message in 0..EACH {
                        member.feed(&format!("{number}:{message}")).await;
                    }
                    member.flush().await;
                    let mut next: HashMap<String, usize> = HashMap::new();
                    for _ in 0..EACH * count {
                        let text = member.text().await;
                        let (sender, message) = text.split_once(':').unwrap();
                        let expected = next.entry(sender.to_owned()).or_default();
                        assert_eq!(message, expected.to_string(), "of sender {sender}");
                        *expected += 1;
                    }
                    member
                })
            })
            .collect();
        for member in running {
            member.await.unwrap();
        }
    }
}

#[actix_web::test]
async fn every_send_after_group_add_arrives_on_every_thread() {
    for threads in [1, 4] {
        let mount = mount();
        let server = LiveServer::start(&mount, threads).unwrap();
        for round in 0..100 {
            // A member joins its groups before it is accepted, so it is in the group now.
            let mut member = Client::connect(&server, "/relay/join/").await;
            let room = GroupName::new("join").unwrap();
            let delivery = mount
                .default_layer()
                .group_send_counted(&room, Said { text: round.to_string() })
                .await
                .unwrap();
            assert_eq!(delivery.delivered, 1);
            assert_eq!(member.text().await, round.to_string());
            member.close().await;
            server.wait_until_empty().await;
            let delivery = mount
                .default_layer()
                .group_send_counted(&room, Said { text: "gone".to_owned() })
                .await
                .unwrap();
            assert_eq!(delivery.delivered, 0);
        }
    }
}

#[actix_web::test]
async fn an_event_is_encoded_once_for_all_threads() {
    for threads in [1, 4] {
        let mount = mount();
        let server = LiveServer::start(&mount, threads).unwrap();
        let mut members = members(&server, "/relay/once/", 40).await;
        for (sent, text) in ["1", "2", "3"].into_iter().enumerate() {
            members[sent].send(text).await;
            for member in &mut members {
                assert_eq!(member.text().await, text);
            }
        }
        assert_eq!(
            mount.default_layer().metrics().encoded,
            3,
            "three events, one consumer type, one wire form"
        );
    }
}

#[actix_web::test]
async fn an_event_to_others_is_encoded_once_and_skips_only_its_sender() {
    for threads in [1, 4] {
        let mount = mount();
        let server = LiveServer::start(&mount, threads).unwrap();
        let mut members = members(&server, "/relay/others/", 40).await;
        for sender in 0..8 {
            let text = format!("others, says {sender}");
            members[sender].send(&text).await;
            for (number, member) in members.iter_mut().enumerate() {
                if number != sender {
                    assert_eq!(member.text().await, text);
                }
            }
        }
        members[0].send("to all").await;
        for member in &mut members {
            assert_eq!(member.text().await, "to all", "and nothing before it");
        }
        assert_eq!(mount.default_layer().metrics().encoded, 9, "nine events, for {threads} threads");
    }
}

#[actix_web::test]
async fn a_relay_that_panics_drops_that_event_only() {
    let mount = mount();
    let server = LiveServer::start(&mount, 1).unwrap();
    let mut relays = members(&server, "/relay/mixed/", 3).await;
    let mut handler = Client::connect(&server, "/handler/mixed/").await;
    relays[0].send("panic").await;
    relays[0].send("after").await;
    for member in &mut relays {
        assert_eq!(member.text().await, "after");
    }
    assert_eq!((handler.text().await, handler.text().await), ("panic".to_owned(), "after".to_owned()));
    assert_eq!(mount.default_layer().metrics().relay_failed, 1);
}

/// As in a group: the event is lost and counted, and the connection stays.
#[actix_web::test]
async fn a_relay_that_panics_on_a_direct_send_drops_that_event_only() {
    let mount = mount();
    let mut client = WebsocketCommunicator::new(&mount, "/relay/direct/");
    client.connect().await.unwrap();
    let (layer, channel) = (mount.default_layer(), client.channel_name().unwrap());
    for text in ["panic", "after"] {
        layer.send(&channel, Said { text: text.into() }).await.unwrap();
    }
    assert_eq!(client.receive_text().await.unwrap(), "after");
    assert_eq!(layer.metrics().relay_failed, 1);
    client.disconnect().await;
}

/// A member that waits at a gate in its handler.
struct Suspended(Gate);

impl Consumer for Suspended {
    fn groups(&self) -> Vec<GroupName> {
        vec![GroupName::new("room").unwrap()]
    }
}

#[event_handlers]
impl Suspended {
    async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        self.0.pass().await;
        ctx.send_text(event.text.clone())
    }
}

#[actix_web::test]
async fn rule_23_only_a_suspended_consumer_loses_events_and_they_are_counted() {
    let gate = Gate::default();
    let visitor = gate.clone();
    let routes = UrlRouter::new()
        .route("/suspended/", move |_: &Scope| Ok(Suspended(visitor.clone())))
        .route("/handler/{room}/", |scope: &Scope| Ok(Handler(scope.param("room")?)));
    let layer = MemoryLayer::with_config(LayerConfig::new().capacity(3));
    let mount = Mount::new(routes).unwrap().layer(layer);
    let mut suspended = WebsocketCommunicator::new(&mount, "/suspended/");
    suspended.connect().await.unwrap();
    let mut other = WebsocketCommunicator::new(&mount, "/handler/room/");
    other.connect().await.unwrap();
    let room = GroupName::new("room").unwrap();
    let mut dropped = 0;
    for number in 0..10 {
        let said = Said { text: number.to_string() };
        dropped += mount.default_layer().group_send_counted(&room, &said).await.unwrap().dropped;
        if number == 0 {
            gate.visited().await;
        }
    }
    assert_eq!(dropped, 6, "one is handled, three wait");
    assert_eq!(mount.default_layer().metrics().inbox_full, 6);
    for expected in 0..10 {
        assert_eq!(other.receive_text().await.unwrap(), expected.to_string());
    }
    for expected in 0..4 {
        gate.open();
        assert_eq!(suspended.receive_text().await.unwrap(), expected.to_string());
    }
    assert!(suspended.receive_nothing().await);
}

#[actix_web::test]
async fn running_members_lose_nothing_of_a_burst_to_a_large_group() {
    const MEMBERS: usize = 1_100;
    const EVENTS: usize = 20;
    let routes = UrlRouter::new().route("/{room}/", |scope: &Scope| Ok(Handler(scope.param("room")?)));
    let mount = Mount::new(routes).unwrap().layer(MemoryLayer::with_config(LayerConfig::new().capacity(4)));
    let (layer, room) = (mount.default_layer().clone(), GroupName::new("large").unwrap());
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        let mut member = WebsocketCommunicator::new(&mount, "/large/");
        member.connect().await.unwrap();
        members.push(member);
    }
    // Sends one after the other, then all at once, then from another thread.
    let said = |number: usize| Said { text: number.to_string() };
    for number in 0..EVENTS {
        let delivery = layer.group_send_counted(&room, said(number)).await.unwrap();
        assert_eq!((delivery.delivered, delivery.dropped), (MEMBERS as u64, 0));
    }
    let events: Vec<_> = (EVENTS..2 * EVENTS).map(said).collect();
    for sent in join_all(events.iter().map(|said| layer.group_send(&room, said))).await {
        sent.unwrap();
    }
    let sender = std::thread::spawn(move || {
        for number in 2 * EVENTS..3 * EVENTS {
            layer.group_send_blocking(&room, said(number)).unwrap();
        }
    });
    for member in &mut members {
        for expected in 0..3 * EVENTS {
            assert_eq!(member.receive_text().await.unwrap(), expected.to_string());
        }
    }
    sender.join().unwrap();
    assert_eq!(mount.default_layer().metrics().inbox_full, 0);
}

#[actix_web::test]
async fn a_hook_that_floods_its_own_group_loses_only_its_own_events() {
    /// Sends 1,000 events in one hook.
    struct Flooder(GroupName);
    impl Consumer for Flooder {
        fn groups(&self) -> Vec<GroupName> {
            vec![self.0.clone()]
        }
        async fn receive(&mut self, _: Message, ctx: &mut Context) -> Result<()> {
            for number in 0..1000 {
                ctx.group_send(&self.0, Said { text: number.to_string() }).await?;
            }
            ctx.send_text("through")
        }
    }
    #[event_handlers]
    impl Flooder {
        async fn said(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
            ctx.send_text(event.text.clone())
        }
    }
    let routes = UrlRouter::new()
        .route("/flooder/", |_: &Scope| Ok(Flooder(GroupName::new("flood")?)))
        .route("/handler/{room}/", |scope: &Scope| Ok(Handler(scope.param("room")?)));
    let mount = Mount::new(routes).unwrap();
    let mut flooder = WebsocketCommunicator::new(&mount, "/flooder/");
    flooder.connect().await.unwrap();
    let mut other = WebsocketCommunicator::new(&mount, "/handler/flood/");
    other.connect().await.unwrap();
    flooder.send_text("go");
    for expected in 0..1000 {
        assert_eq!(other.receive_text().await.unwrap(), expected.to_string());
    }
    assert_eq!(flooder.receive_text().await.unwrap(), "through");
    // The inbox holds 100 events, and the hook was running all the time.
    for expected in 0..100 {
        assert_eq!(flooder.receive_text().await.unwrap(), expected.to_string());
    }
    assert_eq!(mount.default_layer().metrics().inbox_full, 900);
}

#[actix_web::test]
async fn tables_are_empty_after_all_have_left() {
    let mount = mount();
    let server = LiveServer::start(&mount, 4).unwrap();
    let clients = members(&server, "/relay/churn/", 100).await;
    let groups = Arc::new(mount.default_layer().clone());
    assert_eq!(groups.backend().groups().group_count(), 1);
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 {
            client.abort();
        } else {
            client.close().await;
        }
    }
    server.wait_until_empty().await;
    eventually("the group is forgotten", || groups.backend().groups().group_count() == 0).await;
}
