//! `RedisLayer` with a name for each connection: the conformance suite, and the members as Python sees them.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use greenroom::{
    Layer, LayerConfig, Mount, Outgoing,
    layers::redis::{Names, RedisConfig, RedisLayer},
    prelude::*,
};
use redis_tests::{
    Member, Proxy, Python, RedisServer, eventually, group,
    kinds::{self, Redis},
    note,
};
use serde_json::{Value, json};

type Connections = Redis<kinds::Connections>;

mod names {
    conformance_tests::every_layer!(super::Connections);
    conformance_tests::moved_clock!(super::Connections, "Redis has a clock of its own");
    conformance_tests::stored!(super::Connections);
    conformance_tests::processes!(super::Connections);
    conformance_tests::shared!(super::Connections);
    conformance_tests::history!(super::Connections);
    conformance_tests::faults!(super::Connections);
    conformance_tests::drops!(super::Connections, "messages that do not fit wait in Redis");
}

const ROOM_KEY: &str = "asgi:group:room";

async fn ready(config: RedisConfig) -> Layer {
    let layer = RedisLayer::new(config.names(Names::Connection)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url()).timeout(Duration::from_secs(1))
}

async fn members(layer: &Layer, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::of(layer, &["room"]).await);
    }
    members
}

async fn python(server: &RedisServer) -> Python {
    Python::start("core", &json!({"hosts": [server.url()]})).await
}

fn size(server: &RedisServer) -> u64 {
    server.run(&["ZCARD", ROOM_KEY])
}

fn python_note(number: u64) -> [Value; 2] {
    [json!("room"), json!(format!("{{'type': 'note', 'number': {number}}}"))]
}

/// Redis has exactly the channels of all members of all processes: as many names as connections.
#[actix_web::test]
async fn redis_has_one_name_for_each_connection() {
    let server = RedisServer::start();
    let (first, second) = (ready(config(&server)).await, ready(config(&server)).await);
    let (mut here, there) = (members(&first, 30).await, members(&second, 20).await);
    let queue = first.new_channel().await.unwrap();
    first.group_add(&group("room"), &queue).await.unwrap();
    let mut names: Vec<String> = server.run(&["ZRANGE", ROOM_KEY, "0", "-1"]);
    let mut expected: Vec<String> =
        here.iter().chain(&there).map(|member| member.channel().to_string()).collect();
    expected.push(queue.to_string());
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "each name is in Redis once its join has returned");

    for member in here.drain(..10) {
        member.leave().await;
    }
    first.group_discard(&group("room"), &queue).await.unwrap();
    eventually("the names of those who left are removed", || size(&server) == 40).await;
    second.close().await;
    assert_eq!(size(&server), 20, "a layer's end removes all its names");
    first.close().await;
    assert_eq!(size(&server), 0);
}

/// An event from any process arrives once at each member, in the order of sending.
#[actix_web::test]
async fn each_member_hears_each_event_once() {
    let server = RedisServer::start();
    let (first, second) = (ready(config(&server)).await, ready(config(&server)).await);
    let mut members = members(&first, 5).await;
    members.extend(self::members(&second, 5).await);
    let mut python = python(&server).await;
    // This member has joined already. Python adds the same membership again.
    let name = json!(members[0].channel().as_str());
    python.must("group_add", &[json!("room"), name.clone()]).await;
    for number in 0..20 {
        first.group_send(&group("room"), note(3 * number)).await.unwrap();
        for member in &mut members {
            assert_eq!(member.hears().await, (3 * number).to_string());
        }
        python.must("group_send", &python_note(3 * number + 1)).await;
        python.must("group_send", &python_note(3 * number + 2)).await;
        for member in &mut members {
            assert_eq!(member.hears().await, (3 * number + 1).to_string());
            assert_eq!(member.hears().await, (3 * number + 2).to_string());
        }
    }
    python.must("send", &[name, python_note(99)[1].clone()]).await;
    assert_eq!(members[0].hears().await, "99");
    first.group_send(&group("room"), note(100)).await.unwrap();
    for member in &mut members {
        assert_eq!(member.hears().await, "100", "and nothing before it");
    }
    assert_eq!((first.metrics().stray, second.metrics().stray), (0, 0));
}

/// With a name for each connection, other processes and Python need not be told: the name of the one that is left out is
/// not among the recipients.
#[actix_web::test]
async fn a_member_is_left_out_by_its_name() {
    let server = RedisServer::start();
    let (first, second) = (ready(config(&server)).await, ready(config(&server)).await);
    let mut members = members(&first, 2).await;
    members.extend(self::members(&second, 2).await);
    let mut python = python(&server).await;
    let name = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), name.clone()]).await;
    for (number, member) in members.iter().enumerate() {
        let except = member.channel();
        first.group_send_except(&group("room"), &except, note(number as u64)).await.unwrap();
    }
    first.group_send(&group("room"), note(4)).await.unwrap();
    for (left_out, member) in members.iter_mut().enumerate() {
        for number in (0..=4).filter(|number| *number != left_out) {
            assert_eq!(member.hears().await, number.to_string());
        }
    }
    for number in 0..=4 {
        assert_eq!(python.receive(&name).await, format!("{{'type': 'note', 'number': {number}}}"));
    }
}

/// Django removes one connection from a group. The connection then misses the events of Django and of other processes,
/// but not those of its own process. The next renewal adds it again.
#[actix_web::test]
async fn a_name_that_python_discards_comes_back_with_the_renewal() {
    let server = RedisServer::start();
    let layer = ready(config(&server).renew_every(Duration::from_secs(2))).await;
    let mut members = members(&layer, 3).await;
    let mut python = python(&server).await;
    let name = json!(members[0].channel().as_str());
    python.must("group_discard", &[json!("room"), name.clone()]).await;
    python.must("group_send", &python_note(1)).await;
    for member in &mut members[1..] {
        assert_eq!(member.hears().await, "1");
    }
    layer.group_send(&group("room"), note(2)).await.unwrap();
    for member in &mut members {
        assert_eq!(member.hears().await, "2", "the first one has not heard 1");
    }
    eventually("the renewal has come", || size(&server) == 3).await;
    python.must("group_send", &python_note(3)).await;
    for member in &mut members {
        assert_eq!(member.hears().await, "3");
    }
    // Its own process removes it for good.
    layer.group_discard(&group("room"), &members[0].channel()).await.unwrap();
    assert_eq!(size(&server), 2);
    // Python may add it again. Then it hears Python and its own process.
    python.must("group_add", &[json!("room"), name]).await;
    python.must("group_send", &python_note(4)).await;
    for member in &mut members {
        assert_eq!(member.hears().await, "4");
    }
    layer.group_send(&group("room"), note(5)).await.unwrap();
    for member in &mut members {
        assert_eq!(member.hears().await, "5");
    }
}

static RELAYED: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("said")]
struct Said {
    text: String,
}

struct Relaying;

impl Consumer for Relaying {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("relays")]
    }
}

#[event_handlers]
impl Relaying {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        RELAYED.fetch_add(1, Relaxed);
        Outgoing::text(event.text.clone())
    }
}

/// A relay runs for each member if the event is from elsewhere, because such an event names its members and not its group.
/// For an event of this process a relay runs once for all members.
#[actix_web::test]
async fn a_relay_runs_for_each_member_if_the_event_is_from_python() {
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let routes = UrlRouter::new().route("/", |_: &Scope| Ok(Relaying));
    let mount = Mount::new(routes).unwrap().layer(layer.clone());
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Member::connect(&mount).await);
    }
    let mut python = python(&server).await;
    python.must("group_send", &[json!("relays"), json!("{'type': 'said', 'text': 'theirs'}")]).await;
    for client in &mut clients {
        assert_eq!(client.hears().await, "theirs");
    }
    assert_eq!(RELAYED.load(Relaxed), 3);
    layer.group_send(&group("relays"), Said { text: "ours".into() }).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.hears().await, "ours");
    }
    assert_eq!(RELAYED.load(Relaxed), 4);
    for client in clients {
        client.leave().await;
    }
}

/// A thousand members of one process have a thousand names in Redis. One message serves them all.
#[actix_web::test]
async fn each_of_a_thousand_members_gets_each_message() {
    const COUNT: usize = 1_000;
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut members = members(&layer, COUNT).await;
    assert_eq!(size(&server), COUNT as u64);
    let mut python = python(&server).await;
    for number in 1..=3 {
        python.must("group_send", &python_note(number)).await;
    }
    for member in &mut members {
        for number in 1..=3 {
            assert_eq!(member.hears().await, number.to_string());
        }
    }
    futures_util::future::join_all(members.into_iter().map(Member::leave)).await;
    eventually("all names are removed", || size(&server) == 0).await;
    assert_eq!(layer.metrics().stray, 0);
}

/// Members come and go while Redis is away. When Redis is back, it has exactly the names of the current members.
#[actix_web::test]
async fn names_are_right_after_an_outage() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let layer = ready(RedisConfig::new(proxy.url()).timeout(Duration::from_secs(1))).await;
    let mut stay = members(&layer, 3).await;
    let mut leave = members(&layer, 3).await;
    assert_eq!(size(&server), 6);
    proxy.cut_after(0);
    server.run::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
    let (jobs, probe) = (greenroom::ChannelName::new("jobs").unwrap(), note(0));
    eventually("it is away", || {
        futures_util::FutureExt::now_or_never(layer.send(&jobs, &probe)).is_some_and(|sent| sent.is_err())
    })
    .await;
    for member in leave.drain(..) {
        member.leave().await;
    }
    stay.push(Member::of(&layer, &["room"]).await);
    // This one comes and goes unseen by Redis.
    Member::of(&layer, &["room"]).await.leave().await;
    layer.group_send(&group("room"), note(1)).await.unwrap();
    for member in &mut stay {
        assert_eq!(member.hears().await, "1");
    }
    proxy.mend();
    for member in &mut stay {
        assert_eq!(member.hears().await, "gap in room");
    }
    let mut names: Vec<String> = server.run(&["ZRANGE", ROOM_KEY, "0", "-1"]);
    let mut expected: Vec<String> = stay.iter().map(|member| member.channel().to_string()).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    python(&server).await.must("group_send", &python_note(2)).await;
    for member in &mut stay {
        assert_eq!(member.hears().await, "2");
    }
}

/// The names of a process that vanished expire. Those of a living process do not.
#[actix_web::test]
async fn names_of_a_dead_process_expire() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let short = LayerConfig::new().group_expiry(Duration::from_secs(3));
    let dying = ready(RedisConfig::new(proxy.url()).layer(short.clone())).await;
    let alive = ready(config(&server).layer(short)).await;
    let (_dying, mut member) = (members(&dying, 2).await, Member::of(&alive, &["room"]).await);
    assert_eq!(size(&server), 3);
    proxy.cut_after(0);
    let expired = async {
        for number in 0.. {
            alive.group_send_counted(&group("room"), note(number)).await.unwrap();
            assert_eq!(member.hears().await, number.to_string());
            if size(&server) == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(integration_tests::PATIENCE, expired).await.expect("the names expire");
    let names: Vec<String> = server.run(&["ZRANGE", ROOM_KEY, "0", "-1"]);
    assert_eq!(names, [member.channel().to_string()]);
}

/// Hundreds of members come and go, and leave no name. The members that stay get every event exactly once.
#[actix_web::test]
async fn members_that_come_and_go_leave_no_name_in_redis() {
    const COUNT: u64 = 200;
    let server = RedisServer::start();
    let layer = ready(config(&server)).await;
    let mut steady = members(&layer, 5).await;
    let other = ready(config(&server).layer(LayerConfig::new().capacity(1_000))).await;
    let churn = async {
        for _ in 0..500 {
            Member::of(&layer, &["room"]).await.leave().await;
        }
    };
    let send = async {
        for number in 0..COUNT {
            let from = if number % 2 == 0 { &layer } else { &other };
            from.group_send_counted(&group("room"), note(number)).await.unwrap();
        }
    };
    tokio::join!(churn, send);
    for member in &mut steady {
        let mut heard = Vec::new();
        for _ in 0..COUNT {
            heard.push(member.hears().await.parse::<u64>().unwrap());
        }
        heard.sort_unstable();
        assert_eq!(heard, (0..COUNT).collect::<Vec<_>>());
    }
    eventually("only the names of those who stay are in Redis", || size(&server) == 5).await;
}
