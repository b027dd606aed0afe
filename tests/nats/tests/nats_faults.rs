//! Servers that end, freeze, refuse, or are cut off: no connection ends, and everyone is told.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use greenroom::{
    ChannelName, Envelope, Layer, LayerError, Mount,
    layers::{
        LayerGap,
        nats::{Away, NatsConfig, NatsLayer},
    },
    prelude::*,
    testing::WebsocketCommunicator,
};
use nats_tests::NatsServer;
use redis_tests::{Member, Note, Proxy, eventually, group, note};

async fn ready(config: NatsConfig) -> Layer {
    let layer = NatsLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn config(server: &NatsServer) -> NatsConfig {
    NatsConfig::new(server.url()).timeout(Duration::from_secs(1))
}

async fn members(layer: &Layer, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::of(layer, &["room"]).await);
    }
    members
}

async fn all_hear(members: &mut [Member], expected: &str) {
    for member in members {
        assert_eq!(member.hears().await, expected);
    }
}

/// The note in the form in which it travels.
fn written(number: u64) -> Vec<u8> {
    Envelope::new(note(number)).to_wire(greenroom::event::Format::MsgPack).unwrap().to_vec()
}

fn is_away(layer: &Layer) -> bool {
    futures_util::FutureExt::now_or_never(layer.send(&ChannelName::new("jobs").unwrap(), &note(0)))
        .is_some_and(|sent| matches!(sent, Err(LayerError::Unavailable(_))))
}

/// However many members a group has here, the process hears it once; the last one ends that.
#[actix_web::test]
async fn a_process_hears_a_group_once() {
    let server = NatsServer::watched();
    let layer = ready(config(&server)).await;
    let before = server.subscriptions().await;
    let many = members(&layer, 100).await;
    assert_eq!(server.subscriptions().await, before + 1, "known when the members had joined");
    for member in many {
        member.leave().await;
    }
    while server.subscriptions().await > before {}
    let _again = members(&layer, 1).await;
    assert_eq!(server.subscriptions().await, before + 1);
    drop(layer);
}

/// NATS is killed, is away for 2 s and comes back: nobody's connection ends, all are members again and are told.
#[actix_web::test]
async fn a_restart_closes_no_connection() {
    let mut server = NatsServer::start();
    let (layer, other) = (ready(config(&server)).await, ready(config(&server)).await);
    let mut members = members(&layer, 20).await;
    server.kill();
    eventually("it is noticed", || is_away(&layer) && is_away(&other)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    all_hear(&mut members, "1").await;
    assert_eq!(layer.metrics().unpublished, 1);
    other.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(other.metrics().unpublished, 1);
    server.restart();
    all_hear(&mut members, "gap in room").await;
    eventually("the other is back", || other.metrics().reconnected == 1).await;
    other.group_send(&group("room"), &note(3)).await.unwrap();
    all_hear(&mut members, "3").await;
    assert_eq!(layer.metrics().reconnected, 1);
    assert_eq!(layer.metrics().unhandled, 0);
}

/// With `Away::Error` a send says at once that NATS is away, and nobody gets the event.
#[actix_web::test]
async fn away_may_be_an_error() {
    let mut server = NatsServer::start();
    let layer = ready(config(&server).away(Away::Error)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    server.kill();
    eventually("it is noticed", || is_away(&layer)).await;
    let error = layer.group_send(&group("room"), &note(2)).await.unwrap_err();
    let LayerError::Unavailable(reason) = &error else { panic!("{error:?}") };
    assert!(reason.contains(&server.port().to_string()), "it says where: {reason}");
    server.restart();
    assert_eq!(member.hears().await, "gap in room", "and not 2");
    layer.group_send(&group("room"), &note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
}

/// A server that freezes holds nobody up here; when it goes on, so does everything.
#[actix_web::test]
async fn a_frozen_server_holds_nobody_up() {
    let server = NatsServer::start();
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    server.pause();
    let begun = Instant::now();
    // Local first: all of them arrive while nobody answers.
    for number in 0..1_000 {
        layer.group_send(&group("room"), &note(number)).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "nothing waited for the server");
    // Who asks for something gets an answer in its time.
    let sent = layer.send(&ChannelName::new("jobs").unwrap(), &note(0)).await;
    assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    // Someone who joins now is not kept waiting for long, and hears this process.
    let mut late = Member::of(&layer, &["hall"]).await;
    layer.group_send(&group("hall"), &note(1)).await.unwrap();
    assert_eq!(late.hears().await, "1");
    eventually("it is noticed", || is_away(&layer)).await;
    server.resume();
    assert_eq!(member.hears().await, "gap in room");
    assert_eq!(late.hears().await, "gap in hall");
    let other = ready(config(&server)).await;
    for name in ["room", "hall"] {
        other.group_send(&group(name), &note(7)).await.unwrap();
    }
    assert_eq!((member.hears().await, late.hears().await), ("7".to_owned(), "7".to_owned()));
}

/// A sender waits at the bound on what is to be written, but no longer than a server may take to answer; it is counted then.
#[actix_web::test]
async fn a_sender_waits_at_the_bound_for_a_while() {
    const COUNT: u64 = 400;
    let server = NatsServer::start();
    let layer = ready(config(&server).queue_bytes(64 << 10)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    server.pause();
    // More than the sockets and the bound take together.
    let text = "x".repeat(60_000);
    for number in 0..COUNT {
        let large = format!(r#"{{"type":"note","number":{number},"more":"{text}"}}"#);
        layer.group_send(&group("room"), Envelope::from_json(large).unwrap()).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
    let missed = layer.metrics().unpublished;
    assert!(missed > 0 && missed <= COUNT, "{missed}");
    server.resume();
    // What the server's socket held it publishes now, to the connection that is new: members here have had it.
    assert_eq!(member.hears().await, "gap in room");
    let other = ready(config(&server)).await;
    other.group_send(&group("room"), &note(COUNT)).await.unwrap();
    assert_eq!(member.hears().await, COUNT.to_string());
}

/// The connections are cut in the middle of a message: nobody ends, and what is sent behind the gap arrives.
#[actix_web::test]
async fn a_cut_connection_comes_back() {
    let server = NatsServer::start();
    let proxy = Proxy::start(server.port()).await;
    let url = format!("nats://127.0.0.1:{}", proxy.port());
    let layer = ready(NatsConfig::new(url).timeout(Duration::from_secs(1))).await;
    let other = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    proxy.cut_after(10_000);
    let long = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(20_000));
    other.group_send(&group("room"), Envelope::from_json(long).unwrap()).await.unwrap();
    eventually("it is cut", || proxy.has_cut()).await;
    proxy.mend();
    assert_eq!(member.hears().await, "gap in room");
    other.group_send(&group("room"), &note(2)).await.unwrap();
    assert_eq!(member.hears().await, "2");
    assert_eq!(layer.metrics().reconnected, 1);
}

/// Members that come and go, 600 of them, lose nothing for those who stay, and double nothing.
#[actix_web::test]
async fn who_comes_and_goes_loses_nothing_for_others() {
    const COUNT: u64 = 300;
    let server = NatsServer::start();
    let (layer, other) = (ready(config(&server)).await, ready(config(&server)).await);
    let mut steady = members(&layer, 5).await;
    let churn = async {
        for number in 0..300_u64 {
            Member::of(&layer, &["room"]).await.leave().await;
            // Alone there, so that the process hears the group and leaves it, again and again.
            let mut alone = Member::of(&layer, &["hall"]).await;
            other.group_send(&group("hall"), &note(number)).await.unwrap();
            assert_eq!(alone.hears().await, number.to_string());
            alone.leave().await;
        }
    };
    let send = async {
        for number in 0..COUNT {
            other.group_send_counted(&group("room"), &note(number)).await.unwrap();
        }
    };
    tokio::join!(churn, send);
    for member in &mut steady {
        for number in 0..COUNT {
            assert_eq!(member.hears().await, number.to_string());
        }
    }
    assert_eq!(layer.metrics().undecodable, 0);
}

/// Whoever has joined hears the very next send of another process.
#[actix_web::test]
async fn a_join_is_known_when_it_returns() {
    let server = NatsServer::start();
    let (layer, other) = (ready(config(&server)).await, ready(config(&server)).await);
    for number in 0..200_u64 {
        let name = format!("room.{number}");
        let mut member = Member::of(&layer, &[&name]).await;
        other.group_send(&group(&name), &note(number)).await.unwrap();
        assert_eq!(member.hears().await, number.to_string());
    }
}

/// Holds the relays of a test up until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

static GATE: Gate = Gate(Mutex::new(true), Condvar::new());
static RELAYED: AtomicU64 = AtomicU64::new(0);

impl Gate {
    fn set(&self, open: bool) {
        *self.0.lock().unwrap() = open;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }
}

struct Slow;

impl Consumer for Slow {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("slow")]
    }
}

#[event_handlers]
impl Slow {
    #[relay]
    fn note(note: &Note) -> Result<Frame> {
        GATE.pass();
        RELAYED.fetch_add(1, Relaxed);
        Ok(Frame::text(note.number.to_string()))
    }

    async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
        ctx.send_text(format!("gap in {}", gap.group))
    }
}

/// Where members are slower than what comes, what is too much is dropped, counted and told; the connection stays.
#[actix_web::test]
async fn what_is_too_much_is_dropped_and_told() {
    const COUNT: u64 = 2_000;
    const ROOM: usize = 64 << 10;
    let server = NatsServer::start();
    let layer = ready(config(&server).queue_bytes(ROOM)).await;
    let other = ready(config(&server)).await;
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Slow))).unwrap().layer(layer.clone());
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    GATE.set(false);
    for number in 0..COUNT {
        other.group_send(&group("slow"), &note(number)).await.unwrap();
    }
    // Each takes 256 bytes more than it has; nothing is through while the first one is held up.
    let mut room = ROOM;
    let taken = (0..COUNT).take_while(|&number| {
        let left = room.checked_sub(written(number).len() + 256);
        room = left.unwrap_or_default();
        left.is_some()
    });
    let missed = COUNT - taken.count() as u64;
    eventually("all have come", || layer.metrics().inbound_full == missed).await;
    GATE.set(true);
    let mut heard = 0;
    loop {
        let text = client.receive_text().await.unwrap();
        if text == "gap in slow" {
            break;
        }
        heard += 1;
    }
    other.group_send(&group("slow"), &note(COUNT)).await.unwrap();
    while client.receive_text().await.unwrap() != COUNT.to_string() {
        heard += 1;
    }
    let metrics = layer.metrics();
    assert_eq!(heard + metrics.inbound_full, COUNT, "each was heard or counted");
    assert_eq!(RELAYED.load(Relaxed), heard + 1);
    assert_eq!(metrics.reconnected, 0);
    client.disconnect().await;
}

/// A wrong address, password or URL is said where it is asked for; the layer goes on trying.
#[actix_web::test]
async fn what_is_wrong_is_said() {
    let server = NatsServer::with(&["--user", "ann", "--pass", "right"]);
    let with = |user: &str| NatsConfig::new(format!("nats://{user}127.0.0.1:{}", server.port()));
    for wrong in ["", "ann:wrong@", "wrong@"] {
        let layer = NatsLayer::new(with(wrong)).unwrap();
        let error = layer.ready().await.unwrap_err().to_string();
        assert!(error.contains(&server.port().to_string()), "{error}");
        assert!(error.contains("authorization violation"), "{error}");
        assert!(!error.contains("wrong"), "no password is shown: {error}");
    }
    ready(with("ann:right@")).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let layer = NatsLayer::new(NatsConfig::new(format!("nats://127.0.0.1:{free}"))).unwrap();
    let error = layer.ready().await.unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains(&free.to_string()), "{error}");
    assert!(!layer.is_connected());
    // Its consumers work, for themselves.
    let layer = Layer::new(layer);
    let mut member = Member::of(&layer, &["room"]).await;
    layer.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
}

/// Garbage under our subjects is counted, answered, and disturbs nobody.
#[actix_web::test]
async fn garbage_is_counted() {
    let server = NatsServer::start();
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let stranger = server.connect().await;
    for garbage in [&b""[..], b"\xff\x00", b"{\"type\":\"note\"}", b"\x91\xa4type", b"\x81\xa4type\xa2_x"] {
        stranger.publish("greenroom.group.room", garbage.to_vec().into()).await.unwrap();
    }
    stranger.publish("greenroom.group.room", written(1).into()).await.unwrap();
    assert_eq!(member.hears().await, "1");
    assert_eq!(layer.metrics().undecodable, 5);

    let channel = member.channel();
    let process = channel.non_local().trim_start_matches("specific.").trim_end_matches('!').to_owned();
    let ask = async |subject: String, payload: Vec<u8>| {
        let answer = stranger.request(subject, payload.into()).await.unwrap();
        String::from_utf8(answer.payload.to_vec()).unwrap()
    };
    let own = channel.replace('.', ":");
    assert_eq!(ask(format!("greenroom.send.{process}.{own}"), written(2)).await, "ok");
    assert_eq!(member.hears().await, "2");
    assert_eq!(ask(format!("greenroom.join.{process}.{own}.hall"), Vec::new()).await, "ok");
    stranger.publish("greenroom.group.hall", written(3).into()).await.unwrap();
    assert_eq!(member.hears().await, "3");
    assert!(
        ask(format!("greenroom.send.{process}.{own}"), b"garbage".to_vec()).await.starts_with("refused ")
    );
    for strange in ["é", "a!b!c", "..."] {
        let strange = strange.replace('.', ":");
        let answer = ask(format!("greenroom.send.{process}.{strange}"), written(4)).await;
        assert!(answer == "none" || answer.starts_with("refused "), "{answer}");
    }
    assert!(ask(format!("greenroom.join.{process}.{own}.é"), Vec::new()).await.starts_with("refused "));
    let gone = format!("specific:{process}!1:99:99");
    assert_eq!(ask(format!("greenroom.send.{process}.{gone}"), written(4)).await, "none");
    assert_eq!(layer.metrics().undecodable, 6);
    assert_eq!(layer.metrics().reconnected, 0);
}

/// A message that is larger than the server takes is refused before anybody gets it, with the server's own limit.
#[actix_web::test]
async fn a_message_that_is_too_large_is_refused() {
    let server = NatsServer::configured("max_payload: 5000");
    let layer = ready(config(&server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let event = |size: usize| {
        let text = format!(r#"{{"type":"note","number":1,"more":"{}"}}"#, "x".repeat(size));
        Envelope::from_json(text).unwrap()
    };
    let refused = |sent: Result<(), LayerError>| {
        assert!(matches!(sent, Err(LayerError::MessageTooLarge { limit: 5000, .. })), "{sent:?}");
    };
    refused(layer.group_send(&group("room"), event(5_000)).await);
    refused(layer.send(&ChannelName::new("jobs").unwrap(), event(5_000)).await);
    layer.group_send(&group("room"), event(4_000)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    assert_eq!(layer.metrics().reconnected, 0);
}

/// What the server refuses by its access list is said, and the connection stays.
#[actix_web::test]
async fn what_a_user_may_not_is_said() {
    let server = NatsServer::configured(
        r#"authorization: { users: [ {
            user: ann, password: secret, permissions: { publish: "other.>", subscribe: "greenroom.>" }
        } ] }"#,
    );
    let url = format!("nats://ann:secret@127.0.0.1:{}", server.port());
    let layer = NatsLayer::new(NatsConfig::new(url).timeout(Duration::from_secs(1))).unwrap();
    let error = layer.ready().await.unwrap_err().to_string();
    assert!(error.contains("Permissions Violation") && error.contains("greenroom."), "{error}");
}

/// What is asked for at the end is done: the last event arrives, and `close` returns.
#[actix_web::test]
async fn the_end_of_a_layer_writes_what_it_has() {
    let server = NatsServer::start();
    let other = ready(config(&server)).await;
    let mut member = Member::of(&other, &["room"]).await;
    for number in 0..20 {
        let layer = ready(config(&server)).await;
        layer.group_send(&group("room"), &note(number)).await.unwrap();
        layer.close().await;
        assert_eq!(member.hears().await, number.to_string());
        let sent = layer.send(&ChannelName::new("jobs").unwrap(), &note(0)).await;
        assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    }
}
