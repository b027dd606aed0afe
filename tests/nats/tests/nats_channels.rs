//! Channels that several processes read: each message goes to one of them, and none is lost in one that reads no more.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use greenroom::{
    ChannelName, Layer, LayerConfig, LayerError,
    layers::nats::{NatsConfig, NatsLayer},
};
use integration_tests::PATIENCE;
use nats_tests::NatsServer;
use redis_tests::{Member, Note, group, note};
use tokio::time::{sleep, timeout};

async fn ready(server: &NatsServer, config: LayerConfig) -> Layer {
    let layer = NatsLayer::new(NatsConfig::new(server.url()).layer(config)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn jobs() -> ChannelName {
    ChannelName::new("jobs.fast").unwrap()
}

/// The number of the next job, where one comes in time.
async fn next(layer: &Layer) -> u64 {
    let job = timeout(PATIENCE, layer.receive(&jobs())).await.expect("a job in time").unwrap();
    job.event::<Note>().unwrap().number
}

/// Reads for a moment, so that this process is a reader from now on, until NATS knows it.
async fn reads(layer: &Layer, sender: &Layer) {
    let mut begun = Box::pin(layer.receive(&jobs()));
    loop {
        tokio::select! {
            biased;
            job = &mut begun => {
                assert_eq!(job.unwrap().event::<Note>().unwrap().number, u64::MAX, "the first job");
                return;
            }
            sent = sender.send(&jobs(), &note(u64::MAX)) => {
                if sent.is_ok() {
                    begun.await.unwrap();
                    return;
                }
                assert_eq!(sent, Err(LayerError::NoReceiver));
            }
        }
    }
}

/// 300 jobs from one process, read by two others and by itself: each is run once, and each reader has some.
#[actix_web::test]
async fn jobs_are_shared_and_run_once() {
    const COUNT: u64 = 300;
    let server = NatsServer::start();
    let mut layers = Vec::new();
    for _ in 0..3 {
        layers.push(ready(&server, LayerConfig::new().capacity(1_000)).await);
    }
    let sender = layers[0].clone();
    for layer in &layers {
        // One by one: each is the only reader that is not one yet.
        let others = &layers;
        let _ = others;
        let mut begun = Box::pin(layer.receive(&jobs()));
        assert!(futures_util::FutureExt::now_or_never(&mut begun).is_none());
    }
    // Those who read know each other when each has got one.
    let run = join_all(layers.iter().map(|layer| async move {
        let mut run = Vec::new();
        loop {
            match next(layer).await {
                u64::MAX => return run,
                number => run.push(number),
            }
        }
    }));
    let send = async {
        for number in 0..COUNT {
            while sender.send(&jobs(), &note(number)).await == Err(LayerError::NoReceiver) {}
        }
        // Each reader ends with one of these.
        for _ in 0..3 {
            sender.send(&jobs(), &note(u64::MAX)).await.unwrap();
        }
    };
    let (run, ()) = tokio::join!(run, async {
        send.await;
        // A reader may have got two of the last ones: the others are to end too.
        loop {
            if sender.send(&jobs(), &note(u64::MAX)).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
            if layers.iter().all(|layer| layer.backend().groups().queue_count() > 0) {
                return;
            }
        }
    });
    let all: Vec<u64> = run.concat();
    assert_eq!(all.len() as u64, COUNT, "once each");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), (0..COUNT).collect());
    for run in run {
        assert!(run.len() > 30, "each has a share: {}", run.len());
    }
}

/// A channel that nobody reads has no receiver, a consumer that has gone is none, and a full one says so: exact, over processes.
#[actix_web::test]
async fn what_becomes_of_a_send_is_exact() {
    let server = NatsServer::start();
    let layer = ready(&server, LayerConfig::new().capacity(2)).await;
    let other = ready(&server, LayerConfig::new()).await;
    assert_eq!(other.send(&jobs(), &note(1)).await, Err(LayerError::NoReceiver));
    reads(&layer, &other).await;
    for number in 0..2 {
        other.send(&jobs(), &note(number)).await.unwrap();
    }
    assert_eq!(other.send(&jobs(), &note(2)).await, Err(LayerError::ChannelFull(jobs())));
    assert_eq!((next(&layer).await, next(&layer).await), (0, 1));
    other.send(&jobs(), &note(3)).await.unwrap();
    assert_eq!(next(&layer).await, 3);

    let own = layer.new_channel().await.unwrap();
    for number in 0..2 {
        other.send(&own, &note(number)).await.unwrap();
    }
    assert_eq!(other.send(&own, &note(2)).await, Err(LayerError::ChannelFull(own.clone())));
    let member = Member::of(&layer, &[]).await;
    let gone = member.channel();
    member.leave().await;
    assert_eq!(other.send(&gone, &note(1)).await, Err(LayerError::NoReceiver));
    assert_eq!(other.group_add(&group("room"), &gone).await, Err(LayerError::NoReceiver));
    other.group_discard(&group("room"), &gone).await.unwrap();
    let nobody = ChannelName::new("specific.abcdefghijkl!1.2.3").unwrap();
    assert_eq!(other.send(&nobody, &note(1)).await, Err(LayerError::NoReceiver));
}

/// A consumer of another process is put into a group and taken out again.
#[actix_web::test]
async fn a_consumer_elsewhere_joins_and_leaves() {
    let server = NatsServer::start();
    let (layer, other) = (ready(&server, LayerConfig::new()).await, ready(&server, LayerConfig::new()).await);
    let mut member = Member::of(&layer, &["hall"]).await;
    other.group_add(&group("room"), &member.channel()).await.unwrap();
    other.group_send(&group("room"), &note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    other.group_discard(&group("room"), &member.channel()).await.unwrap();
    other.group_send(&group("room"), &note(2)).await.unwrap();
    other.group_send(&group("hall"), &note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
}

/// A process whose queue is full passes on what it is asked to take, so the sender finds the one that has room.
#[actix_web::test]
async fn a_full_process_passes_on() {
    let server = NatsServer::start();
    let sender = ready(&server, LayerConfig::new()).await;
    let small = ready(&server, LayerConfig::new().capacity(1)).await;
    let large = ready(&server, LayerConfig::new().capacity(1_000)).await;
    reads(&small, &sender).await;
    let mut begun = Box::pin(large.receive(&jobs()));
    assert!(futures_util::FutureExt::now_or_never(&mut begun).is_none());
    // Until the large one takes part, the small one is full after the first.
    let mut sent = 0;
    while sent < 100 {
        match sender.send(&jobs(), &note(sent)).await {
            Ok(()) => sent += 1,
            Err(error) => assert!(error == LayerError::ChannelFull(jobs()) && sent <= 1, "{error:?} after {sent}"),
        }
    }
    let mut all = BTreeSet::from([next(&small).await]);
    all.insert(begun.await.unwrap().event::<Note>().unwrap().number);
    for _ in 0..98 {
        all.insert(next(&large).await);
    }
    assert_eq!(all, (0..100).collect());
}

/// A reader that has gone is one no more after the time that a message lives; what it was sent is handed on and runs elsewhere.
#[actix_web::test]
async fn what_a_reader_leaves_runs_elsewhere() {
    let server = NatsServer::start();
    let sender = ready(&server, LayerConfig::new()).await;
    let fickle = ready(&server, LayerConfig::new().expiry(Duration::from_secs(2))).await;
    reads(&fickle, &sender).await;
    for number in 0..5 {
        sender.send(&jobs(), &note(number)).await.unwrap();
    }
    let steady = ready(&server, LayerConfig::new()).await;
    for number in 0..5 {
        assert_eq!(next(&steady).await, number, "in their order");
    }
    assert_eq!(fickle.metrics().expired, 0);
    let groups = fickle.backend().groups();
    assert_eq!(groups.queue_count(), 0);
    // From now on all go to the other one.
    for number in 10..20 {
        sender.send(&jobs(), &note(number)).await.unwrap();
        assert_eq!(next(&steady).await, number);
    }
}

/// With nobody else to take them, messages stay for a `receive` that comes late, and a channel without a reader has none.
#[actix_web::test]
async fn what_nobody_takes_stays() {
    let server = NatsServer::start();
    let sender = ready(&server, LayerConfig::new()).await;
    let only = ready(&server, LayerConfig::new().expiry(Duration::from_secs(2))).await;
    reads(&only, &sender).await;
    for number in 0..3 {
        sender.send(&jobs(), &note(number)).await.unwrap();
    }
    let mut late = 3;
    while sender.send(&jobs(), &note(late)).await.is_ok() {
        late += 1;
        sleep(Duration::from_millis(200)).await;
    }
    // It is no reader any more, and has offered what it holds; what lives still is there, in its order.
    let mut got = vec![next(&only).await];
    while let Ok(job) = timeout(Duration::from_millis(300), only.receive(&jobs())).await {
        got.push(job.unwrap().event::<Note>().unwrap().number);
    }
    assert!(got.is_sorted() && got.last() == Some(&(late - 1)), "{got:?} of {late}");
    assert_eq!(got.len() as u64 + only.metrics().expired, late);
}

/// A program that ends hands on what it has not read.
#[actix_web::test]
async fn the_end_of_a_process_hands_on() {
    let server = NatsServer::start();
    let sender = ready(&server, LayerConfig::new()).await;
    let ending = ready(&server, LayerConfig::new()).await;
    reads(&ending, &sender).await;
    for number in 0..20 {
        sender.send(&jobs(), &note(number)).await.unwrap();
    }
    let steady = ready(&server, LayerConfig::new()).await;
    let read = async {
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(next(&steady).await);
        }
        all
    };
    let end = async {
        // It has a share itself from when NATS knows it.
        eventually_reads(&steady).await;
        ending.close().await;
    };
    let (all, ()) = tokio::join!(read, end);
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

/// Waits until what a process does next is known to NATS: a member that joins waits for that.
async fn eventually_reads(layer: &Layer) {
    sleep(Duration::from_millis(50)).await;
    Member::of(layer, &["any"]).await.leave().await;
}
