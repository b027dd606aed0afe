//! Clients that do not read. Other clients notice nothing, and waiting messages stay within their bounds.

use std::{thread, time::Duration};

use greenroom::{
    IntoEnvelope, Limits, Metrics, Mount, Overflow,
    close::CloseCode,
    prelude::*,
    testing::{CommunicatorError, LiveServer, WebsocketCommunicator},
};
use integration_tests::{
    Gate, Log, PATIENCE, eventually,
    raw::{FIN, Frame, PING, Raw, Request, masked},
};
use tokio::time::timeout;

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Price {
    symbol: String,
    cents: u64,
}

/// Makes every member send this many bytes to its client.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Report {
    bytes: usize,
}

/// A member of the groups that its path names.
struct Member {
    groups: String,
    log: Log,
}

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        self.groups.split('-').map(|name| GroupName::new(name).unwrap()).collect()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        ctx.send_text(message.text()?.to_owned())
    }

    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        self.log.note(format!("{} {} {:?}", self.groups, u16::from(reason.code), &*reason.reason));
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn news(event: &News) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    #[relay]
    fn price(event: &Price) -> Outgoing {
        Outgoing::text(format!("{} {}", event.symbol, event.cents)).keyed(&event.symbol)
    }

    async fn report(&mut self, event: &Report, ctx: &mut Context) -> Result<()> {
        ctx.send_bytes(vec![7; event.bytes])
    }
}

struct Stage {
    mount: Mount,
    log: Log,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let log = Log::default();
        let noted = log.clone();
        let make = move |scope: &Scope| Ok(Member { groups: scope.param("groups")?, log: noted.clone() });
        let mount = Mount::new(UrlRouter::new().route("/{groups}/", make)).unwrap().limits(limits);
        Self { mount, log }
    }

    async fn tell(&self, group: &str, event: impl IntoEnvelope) {
        let group = GroupName::new(group).unwrap();
        self.mount.default_layer().group_send(&group, event).await.unwrap();
    }

    fn metrics(&self) -> Metrics {
        self.mount.default_layer().metrics()
    }

    async fn client(&self, path: &str) -> WebsocketCommunicator {
        let mut client = WebsocketCommunicator::new(&self.mount, path);
        client.connect().await.unwrap();
        client
    }
}

/// A client with a small receive buffer, which reads nothing from now on.
async fn blocked(server: &LiveServer, path: &str) -> Raw {
    let mut client = Raw::open_narrow(server.address(), 4096).await;
    assert_eq!(client.ask(&Request::new(path)).await.status, 101);
    client
}

fn piece(number: usize) -> News {
    News { text: format!("{number:08}{}", "x".repeat(8 << 10)) }
}

#[actix_web::test]
async fn a_member_that_does_not_read_is_closed_and_999_others_lose_nothing() {
    const OUTBOX: usize = 256 << 10;
    let stage = Stage::new(Limits::new().outbox_size(OUTBOX).ping_interval(None));
    let server = LiveServer::start(&stage.mount, 1).unwrap();

    // Measures how much the system and the outbox take for a client that reads nothing. Another client, which reads,
    // sets the pace. Without a burst, only what the system does not take waits in the outbox.
    let mut pace = Raw::connect(server.address(), "/probe-slow/").await;
    let _probe = blocked(&server, "/probe/").await;
    let mut taken = 0;
    while stage.metrics().too_slow == 0 {
        stage.tell("probe", &piece(taken)).await;
        taken += 1;
        assert!(taken < 10_000, "64 MB and more for a client that reads nothing");
        pace.next_text().await;
    }

    let mut others = Vec::new();
    for _ in 0..999 {
        others.push(Raw::connect(server.address(), "/room/").await);
    }
    let mut slow = blocked(&server, "/room-slow/").await;
    let mut number = 0;
    while number + 16 < taken {
        stage.tell("slow", &piece(number)).await;
        number += 1;
        pace.next_text().await;
    }

    // Every other member gets each message before the next one is sent, whatever the slow client does.
    while stage.metrics().too_slow == 1 {
        let news = piece(number);
        stage.tell("room", &news).await;
        timeout(PATIENCE, async {
            for other in &mut others {
                assert_eq!(other.next_text().await, news.text);
            }
        })
        .await
        .expect("nobody waits for the slow client");
        number += 1;
        assert!(number < 10_000, "the slow client is never closed");
    }
    let metrics = stage.metrics();
    assert_eq!((metrics.too_slow, metrics.outbox_full, metrics.thread_behind), (2, 0, 0));
    eventually("the slow client's consumer has ended", || stage.log.lines().len() == 2).await;
    assert_eq!(stage.log.lines()[1], "room-slow 1013 \"read too slowly\"");

    // The slow client gets what the system had already taken, and then the reason. It gets nothing of its outbox.
    let mut read = 0;
    let frame = loop {
        let frame = slow.frame().await;
        if frame.first == 0x88 {
            break frame;
        }
        assert_eq!(frame.payload[..8], *format!("{read:08}").as_bytes());
        read += 1;
    };
    assert_eq!(frame.payload[..2], 1013_u16.to_be_bytes());
    let lost = (number - read) * piece(0).text.len();
    assert!(lost <= OUTBOX + piece(0).text.len(), "{lost} bytes waited");

    // The other members go on.
    let news = piece(number);
    stage.tell("room", &news).await;
    for other in &mut others {
        assert_eq!(other.next_text().await, news.text);
    }
}

#[actix_web::test]
async fn only_the_latest_message_of_a_key_waits() {
    let stage = Stage::new(Limits::new().overflow(Overflow::Latest));
    let mut client = stage.client("/prices/").await;
    for cents in 0..1000 {
        for symbol in ["BTC", "ETH"] {
            stage.tell("prices", &Price { symbol: symbol.to_owned(), cents }).await;
        }
        if cents % 500 == 0 {
            stage.tell("prices", &News { text: format!("news {cents}") }).await;
        }
    }
    let mut received = Vec::new();
    while let Ok(text) = timeout(Duration::from_millis(100), client.receive_text()).await {
        received.push(text.unwrap());
    }
    // The latest values are in the places of the first ones. All messages without a key are still there.
    assert_eq!(received, ["BTC 999", "ETH 999", "news 0", "news 500"]);
    assert_eq!(stage.metrics().conflated, 2 * 999);
    assert_eq!(stage.metrics().outbox_full, 0);
}

#[actix_web::test]
async fn a_client_that_reads_gets_every_value_of_a_key() {
    let stage = Stage::new(Limits::new().overflow(Overflow::Latest));
    let mut client = stage.client("/prices/").await;
    for cents in 0..100 {
        stage.tell("prices", &Price { symbol: "BTC".to_owned(), cents }).await;
        assert_eq!(client.receive_text().await.unwrap(), format!("BTC {cents}"));
    }
    assert_eq!(stage.metrics().conflated, 0);
}

/// Which of these clients were closed, and how many bytes waited for the others.
async fn outcome(clients: Vec<WebsocketCommunicator>) -> (Vec<bool>, usize) {
    let (mut closed, mut bytes) = (Vec::new(), 0);
    for mut client in clients {
        closed.push(loop {
            match timeout(Duration::from_millis(50), client.receive_bytes()).await {
                Ok(Ok(message)) => bytes += message.len(),
                Ok(Err(CommunicatorError::Closed { code, reason })) => {
                    assert_eq!((code, &*reason), (CloseCode::TRY_AGAIN, "the server holds too much"));
                    break true;
                }
                Ok(Err(other)) => panic!("{other}"),
                Err(_) => break false,
            }
        });
    }
    (closed, bytes)
}

#[actix_web::test]
async fn over_the_budget_the_largest_outboxes_are_closed_first() {
    const BUDGET: usize = 1 << 20;
    let mut stage = Stage::new(Limits::new());
    stage.mount = stage.mount.outbox_budget(BUDGET);
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        small.push(stage.client("/small/").await);
        large.push(stage.client("/large/").await);
    }
    for _ in 0..20 {
        stage.tell("small", &Report { bytes: 1 << 10 }).await;
        stage.tell("large", &Report { bytes: 10 << 10 }).await;
    }
    tokio::task::yield_now().await;
    let (closed, small_bytes) = outcome(small).await;
    assert_eq!(closed, [false; 20]);
    assert_eq!(small_bytes, 20 * 20 * 1024, "the small clients lost nothing");
    let (closed, large_bytes) = outcome(large).await;
    let closed = closed.into_iter().filter(|closed| *closed).count();
    assert!((1..20).contains(&closed), "{closed} clients were closed");
    assert_eq!(stage.metrics().over_budget, closed as u64);
    assert!(small_bytes + large_bytes <= BUDGET, "{small_bytes} and {large_bytes} bytes waited");
}

#[actix_web::test]
async fn the_thread_that_holds_most_makes_room() {
    let mut stage = Stage::new(Limits::new());
    stage.mount = stage.mount.outbox_budget(2 << 20);
    // A second thread. The outboxes of its clients hold most of the budget.
    let mount = stage.mount.clone();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let other = thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let mut heavy = Vec::new();
            for _ in 0..3 {
                let mut client = WebsocketCommunicator::new(&mount, "/heavy/");
                client.connect().await.unwrap();
                heavy.push(client);
            }
            let _ = ready.send(());
            let _ = stopped.await;
            outcome(heavy).await.0
        })
    });
    is_ready.await.unwrap();
    stage.tell("heavy", &Report { bytes: 600 << 10 }).await;

    let mut light = Vec::new();
    for _ in 0..10 {
        light.push(stage.client("/light/").await);
    }
    // The second thread holds 1.8 MB. Another 400 KB on this thread are too much.
    for _ in 0..8 {
        stage.tell("light", &Report { bytes: 5 << 10 }).await;
        tokio::task::yield_now().await;
    }
    eventually("room is made", || stage.metrics().over_budget > 0).await;
    assert_eq!(outcome(light).await, (vec![false; 10], 10 * 8 * 5 * 1024));
    let _ = stop.send(());
    let closed = other.join().unwrap();
    assert_eq!(closed.iter().filter(|closed| **closed).count() as u64, stage.metrics().over_budget);
}

/// A consumer whose hook waits at the gate.
#[derive(NoEvents)]
struct Waiting(Gate);

impl Consumer for Waiting {
    async fn receive(&mut self, _: Message, _: &mut Context) -> Result<()> {
        self.0.pass().await;
        Ok(())
    }
}

#[actix_web::test]
async fn messages_that_wait_for_a_hook_count_in_the_budget() {
    let gate = Gate::default();
    let at = gate.clone();
    let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(Waiting(at.clone())));
    let mount = Mount::new(routes).unwrap().outbox_budget(4 << 20);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = WebsocketCommunicator::new(&mount, "/");
        client.connect().await.unwrap();
        client.send_bytes(vec![7; 1 << 20]);
        gate.visited().await;
        // The hook has the first message. The second one waits.
        client.send_bytes(vec![7; 1 << 20]);
        clients.push(client);
    }
    let metrics = || mount.default_layer().metrics();
    eventually("room is made", || metrics().over_budget == 5).await;
    let (closed, _) = outcome(clients).await;
    assert_eq!(closed.into_iter().filter(|closed| *closed).count(), 5, "3 MiB and no more fit");
}

#[actix_web::test]
async fn a_client_that_sends_pings_and_reads_nothing_gets_only_the_newest_pongs() {
    const PINGS: usize = 5_000;
    let stage = Stage::new(Limits::new());
    let server = LiveServer::start(&stage.mount, 1).unwrap();
    let mut client = Raw::connect(server.address(), "/a/").await;
    let pings: Vec<u8> =
        (0..PINGS).flat_map(|number| masked(FIN | PING, format!("{number:04}").as_bytes())).collect();
    client.send(&pings).await;
    client.text("end").await;
    let mut pongs = Vec::new();
    loop {
        let frame = client.frame().await;
        if frame == Frame::text("end") {
            break;
        }
        pongs.push(String::from_utf8(frame.payload).unwrap());
    }
    assert!(pongs.is_sorted());
    assert_eq!(pongs.last().unwrap(), "4999");
    assert!(pongs.len() < PINGS / 10, "{} pongs waited", pongs.len());
}
