//! Slow links, and messages that are cut in the middle: nothing is lost or doubled, and no other member waits.

use std::time::Duration;

use greenroom::{
    ChannelName, Envelope, Layer, LayerConfig, Mount,
    layers::redis::{RedisConfig, RedisLayer, RedisPubSubLayer},
    prelude::*,
    testing::LiveServer,
};
use integration_tests::Client;
use redis_tests::{
    Member, Proxy, RedisServer, Slow, eventually, group,
    kinds::{self, Kind},
    note,
};

const FAR: Slow = Slow { delay: Duration::from_millis(50), bytes_a_second: 0 };
const SLOW: Slow = Slow { delay: Duration::from_millis(50), bytes_a_second: 1_000_000 };

async fn core(config: RedisConfig) -> Layer {
    let layer = RedisLayer::new(config.layer(LayerConfig::new().capacity(10_000))).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

async fn pubsub(config: RedisConfig) -> Layer {
    let layer = RedisPubSubLayer::new(config).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn large(number: u64, bytes: usize) -> Envelope {
    let text = format!(r#"{{"type":"note","number":{number},"more":"{}"}}"#, "x".repeat(bytes));
    Envelope::from_json(text).unwrap()
}

async fn hears_all(member: &mut Member, count: u64) {
    for number in 0..count {
        assert_eq!(member.hears().await, number.to_string());
    }
}

/// A thousand sends over a link with 50 ms latency need a few round trips, not a thousand. All arrive.
#[actix_web::test]
async fn sends_with_high_latency_are_pipelined() {
    const COUNT: u64 = 1_000;
    let server = RedisServer::start();
    let proxy = Proxy::slow(server.port(), FAR).await;
    let (far, near) = (core(RedisConfig::new(proxy.url())).await, core(RedisConfig::new(server.url())).await);
    let mut there = Member::of(&near, &["room"]).await;
    let before = proxy.flights();
    for number in 0..COUNT {
        far.group_send(&group("room"), note(number)).await.unwrap();
    }
    far.group_send_counted(&group("nobody"), note(0)).await.unwrap();
    let flights = proxy.flights() - before;
    // Two round trips for each batch of 512, and a few for the reader and for the watch over the connection.
    assert!(flights <= 20, "{flights} round trips for {COUNT} sends");
    hears_all(&mut there, COUNT).await;
}

/// Over a link with 50 ms latency and 1 MB/s nothing is lost or doubled, and the order is kept, in both directions.
#[actix_web::test]
async fn a_slow_link_loses_nothing() {
    const COUNT: u64 = 500;
    let server = RedisServer::start();
    let proxy = Proxy::slow(server.port(), SLOW).await;
    let (far, near) = (core(RedisConfig::new(proxy.url())).await, core(RedisConfig::new(server.url())).await);
    let mut there = Member::of(&near, &["room"]).await;
    for number in 0..COUNT {
        far.group_send(&group("room"), note(number)).await.unwrap();
    }
    hears_all(&mut there, COUNT).await;
    let mut here = Member::of(&far, &["hall"]).await;
    for number in 0..COUNT {
        near.group_send(&group("hall"), note(number)).await.unwrap();
    }
    hears_all(&mut here, COUNT).await;
    for layer in [&far, &near] {
        layer.group_send(&group("room"), note(COUNT)).await.unwrap();
        assert_eq!(there.hears().await, COUNT.to_string(), "no event came twice");
        assert_eq!((layer.metrics().unpublished, layer.metrics().reconnected), (0, 0));
    }
}

/// A sender that is faster than the link waits at the limit of bytes. Members of its process hear others meanwhile.
#[actix_web::test]
async fn a_slow_link_holds_the_sender_back() {
    const COUNT: u64 = 300;
    const BYTES: u64 = 2_000;
    let server = RedisServer::start();
    let proxy = Proxy::slow(server.port(), SLOW).await;
    let far = core(RedisConfig::new(proxy.url()).queue_bytes(64 << 10)).await;
    let near = core(RedisConfig::new(server.url())).await;
    let jobs = ChannelName::new("jobs").unwrap();
    far.group_add(&group("room"), &jobs).await.unwrap();
    let mut other = Member::of(&far, &["hall"]).await;
    let in_redis = || server.run::<u64>(&["ZCARD", "asgijobs"]);
    // At most so many messages are on their way.
    let most = (64 << 10) / BYTES;
    for number in 0..COUNT {
        far.group_send(&group("room"), large(number, BYTES as usize)).await.unwrap();
        if number % 50 == 49 {
            let written = in_redis();
            assert!(number < written + most, "{number} were taken, {written} are written");
            // Some are still on their way.
            assert!(written < COUNT);
            far.group_send(&group("hall"), note(number)).await.unwrap();
            assert_eq!(other.hears().await, number.to_string());
        }
    }
    far.group_send_counted(&group("nobody"), note(0)).await.unwrap();
    for number in 0..COUNT {
        let event = near.receive(&jobs).await.unwrap();
        assert_eq!(event.event::<redis_tests::Note>().unwrap().number, number);
    }
    assert_eq!(in_redis(), 0, "each message was in Redis once");
}

/// With pub/sub and 50 ms latency, simultaneous sends share their round trips. All arrive, in each sender's order.
#[actix_web::test]
async fn pubsub_sends_with_high_latency_are_pipelined() {
    const SENDERS: u64 = 100;
    let server = RedisServer::start();
    let proxy = Proxy::slow(server.port(), FAR).await;
    let (far, near) =
        (pubsub(RedisConfig::new(proxy.url())).await, pubsub(RedisConfig::new(server.url())).await);
    let (mut there, mut here) = (Member::of(&near, &["room"]).await, Member::of(&far, &["room"]).await);
    let before = proxy.flights();
    let send = |sender: u64| {
        let far = &far;
        async move {
            for number in 0..3 {
                far.group_send(&group("room"), note(10 * sender + number)).await.unwrap();
            }
        }
    };
    futures_util::future::join_all((0..SENDERS).map(send)).await;
    let flights = proxy.flights() - before;
    assert!(flights <= 40, "{flights} round trips for {SENDERS} senders of 3");
    for member in [&mut there, &mut here] {
        let mut last = [0; SENDERS as usize];
        for _ in 0..3 * SENDERS {
            let number: u64 = member.hears().await.parse().unwrap();
            let sender = &mut last[(number / 10) as usize];
            assert_eq!(number % 10, *sender, "each once, in the order it was sent");
            *sender += 1;
        }
    }
}

/// A connection is cut inside a request of ours. Redis runs no part of the request, members learn of the gap, and later
/// sends work.
#[actix_web::test]
async fn a_request_that_is_cut_is_not_written_in_part() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let near = core(RedisConfig::new(server.url())).await;
    let far = core(RedisConfig::new(proxy.url()).timeout(Duration::from_secs(1))).await;
    let (mut here, mut there) = (Member::of(&far, &["room"]).await, Member::of(&near, &["room"]).await);
    proxy.cut_up_after(50_000);
    far.group_send(&group("room"), large(1, 100_000)).await.unwrap();
    eventually("it is cut", || proxy.has_cut()).await;
    proxy.mend();
    assert_eq!((here.hears().await, here.hears().await), ("1".to_owned(), "gap in room".to_owned()));
    assert_eq!(far.metrics().unpublished, 1);
    far.group_send(&group("room"), note(2)).await.unwrap();
    assert_eq!((here.hears().await, there.hears().await), ("2".to_owned(), "2".to_owned()));
    near.group_send(&group("room"), note(3)).await.unwrap();
    assert_eq!((here.hears().await, there.hears().await), ("3".to_owned(), "3".to_owned()));
}

/// The same with pub/sub. Members of the sender's process get the event once, although no other process got it.
#[actix_web::test]
async fn a_publication_that_is_cut_reaches_its_own_process_once() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let near = pubsub(RedisConfig::new(server.url())).await;
    let far = pubsub(RedisConfig::new(proxy.url()).timeout(Duration::from_secs(1))).await;
    let (mut here, mut there) = (Member::of(&far, &["room"]).await, Member::of(&near, &["room"]).await);
    proxy.cut_up_after(50_000);
    far.group_send(&group("room"), large(1, 100_000)).await.unwrap();
    assert!(proxy.has_cut());
    proxy.mend();
    assert_eq!((here.hears().await, here.hears().await), ("1".to_owned(), "gap in room".to_owned()));
    far.group_send(&group("room"), note(2)).await.unwrap();
    assert_eq!((here.hears().await, there.hears().await), ("2".to_owned(), "2".to_owned()));
    near.group_send(&group("room"), note(3)).await.unwrap();
    assert_eq!((here.hears().await, there.hears().await), ("3".to_owned(), "3".to_owned()));
}

/// Is in a group from its start on.
#[derive(NoEvents)]
struct Guest;

impl Consumer for Guest {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("room")]
    }
}

/// Redis hangs, and nobody has noticed yet. By default a client comes in all the same, and is a member in this process.
async fn a_client_comes_in_while_redis_hangs<K: Kind>() {
    let server = RedisServer::start();
    let (layer, ready) = K::open(RedisConfig::new(server.url())).await;
    ready.unwrap();
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Guest))).unwrap();
    let http = LiveServer::start(&mount.layer(layer), 1).unwrap();
    server.pause();
    // This waits for longer than a `connect` may take.
    Client::connect(&http, "/").await;
    server.resume();
}

#[actix_web::test]
async fn clients_come_in_while_redis_hangs() {
    tokio::join!(
        a_client_comes_in_while_redis_hangs::<kinds::Core>(),
        a_client_comes_in_while_redis_hangs::<kinds::Connections>(),
        a_client_comes_in_while_redis_hangs::<kinds::LoggedCore>(),
        a_client_comes_in_while_redis_hangs::<kinds::PubSub>(),
        a_client_comes_in_while_redis_hangs::<kinds::LoggedPubSub>(),
    );
}
