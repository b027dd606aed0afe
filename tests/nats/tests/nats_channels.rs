//! Channels that several processes read. Each message goes to one process, and none is lost in a process that stops reading.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use greenroom::{
    ChannelName, Layer, LayerConfig, LayerError,
    layers::nats::{NatsConfig, NatsLayer},
};
use integration_tests::PATIENCE;
use nats_tests::NatsServer;
use redis_tests::{Member, Note, eventually, group, note};
use tokio::time::{sleep, timeout};

async fn ready(server: &NatsServer, config: LayerConfig) -> Layer {
    let layer = NatsLayer::new(NatsConfig::new(server.url()).layer(config)).unwrap();
    layer.ready().await.unwrap();
    layer.into()
}

fn jobs() -> ChannelName {
    ChannelName::new("jobs.fast").unwrap()
}

/// The number of the next job. Fails if none comes in time.
async fn next(layer: &Layer) -> u64 {
    let job = timeout(PATIENCE, layer.receive(&jobs())).await.expect("a job in time").unwrap();
    job.event::<Note>().unwrap().number
}

/// Reads for a moment, so that NATS knows this process as a reader from now on.
async fn reads(layer: &Layer, server: &NatsServer) {
    let before = server.subscriptions().await;
    assert!(layer.receive(&jobs()).now_or_never().is_none(), "nothing was sent");
    let known = async { while server.subscriptions().await == before {} };
    timeout(PATIENCE, known).await.expect("NATS knows in time");
}

/// One process sends 300 jobs, and three read them, itself included. Each job runs once, and each reader gets a share.
#[actix_web::test]
async fn jobs_are_shared_and_run_once() {
    const COUNT: usize = 300;
    let server = NatsServer::watched();
    let mut layers = Vec::new();
    for _ in 0..3 {
        let layer = ready(&server, LayerConfig::new().capacity(COUNT)).await;
        reads(&layer, &server).await;
        layers.push(layer);
    }
    let run = Arc::new(Mutex::new(Vec::new()));
    let mut readers = Vec::new();
    for (reader, layer) in layers.iter().enumerate() {
        let (layer, run) = (layer.clone(), Arc::clone(&run));
        readers.push(actix_web::rt::spawn(async move {
            loop {
                let number = next(&layer).await;
                run.lock().unwrap().push((reader, number));
            }
        }));
    }
    for number in 0..COUNT as u64 {
        layers[0].send(&jobs(), note(number)).await.unwrap();
    }
    eventually("all are run", || run.lock().unwrap().len() >= COUNT).await;
    readers.iter().for_each(actix_web::rt::task::JoinHandle::abort);
    let run = run.lock().unwrap();
    assert_eq!(run.len(), COUNT, "each job ran once");
    assert_eq!(run.iter().map(|(_, number)| *number).collect::<BTreeSet<_>>(), (0..COUNT as u64).collect());
    for reader in 0..3 {
        let share = run.iter().filter(|(by, _)| *by == reader).count();
        assert!(share > COUNT / 10, "each reader has a share: {share}");
    }
}

/// A direct send to another process fails if nobody reads the channel, if the consumer has gone, or if the queue is full.
#[actix_web::test]
async fn a_direct_send_says_exactly_whether_it_was_taken() {
    let server = NatsServer::watched();
    let layer = ready(&server, LayerConfig::new().capacity(2)).await;
    let other = ready(&server, LayerConfig::new()).await;
    assert_eq!(other.send(&jobs(), note(1)).await, Err(LayerError::NoReceiver));
    reads(&layer, &server).await;
    for number in 0..2 {
        other.send(&jobs(), note(number)).await.unwrap();
    }
    assert_eq!(other.send(&jobs(), note(2)).await, Err(LayerError::ChannelFull(jobs())));
    assert_eq!((next(&layer).await, next(&layer).await), (0, 1));
    other.send(&jobs(), note(3)).await.unwrap();
    assert_eq!(next(&layer).await, 3);

    let own = layer.new_channel().await.unwrap();
    for number in 0..2 {
        other.send(&own, note(number)).await.unwrap();
    }
    assert_eq!(other.send(&own, note(2)).await, Err(LayerError::ChannelFull(own.clone())));
    let member = Member::of(&layer, &[]).await;
    let gone = member.channel();
    member.leave().await;
    assert_eq!(other.send(&gone, note(1)).await, Err(LayerError::NoReceiver));
    assert_eq!(other.group_add(&group("room"), &gone).await, Err(LayerError::NoReceiver));
    other.group_discard(&group("room"), &gone).await.unwrap();
    let nobody = ChannelName::new("specific.abcdefghijkl!1.2.3").unwrap();
    assert_eq!(other.send(&nobody, note(1)).await, Err(LayerError::NoReceiver));
}

/// A consumer of another process is put into a group and taken out again.
#[actix_web::test]
async fn a_consumer_of_another_process_is_put_into_a_group_and_taken_out() {
    let server = NatsServer::start();
    let (layer, other) = (ready(&server, LayerConfig::new()).await, ready(&server, LayerConfig::new()).await);
    let mut member = Member::of(&layer, &["hall"]).await;
    other.group_add(&group("room"), &member.channel()).await.unwrap();
    other.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!(member.hears().await, "1");
    other.group_discard(&group("room"), &member.channel()).await.unwrap();
    other.group_send(&group("room"), note(2)).await.unwrap();
    other.group_send(&group("hall"), note(3)).await.unwrap();
    assert_eq!(member.hears().await, "3");
}

/// A channel of this process is left out here, and other processes get the bytes of every event. They are told of others.
#[actix_web::test]
async fn other_processes_are_told_only_of_channels_that_may_be_theirs() {
    let server = NatsServer::start();
    let layer = ready(&server, LayerConfig::new()).await;
    let mut member = Member::of(&layer, &["room"]).await;
    let mut published = server.hear("greenroom.group.room").await;
    let other = ChannelName::new("specific.another12345!1.0.1").unwrap();
    layer.group_send_except(&group("room"), member.channel(), note(1)).await.unwrap();
    layer.group_send_except(&group("room"), [member.channel(), other], note(2)).await.unwrap();
    layer.group_send(&group("room"), note(3)).await.unwrap();
    let expected: [&[u8]; 3] = [
        b"\x82\xa4type\xa4note\xa6number\x01",
        b"\x83\xa4type\x81\xa6except\x91\xbbspecific.another12345!1.0.1\xa4type\xa4note\xa6number\x02",
        b"\x82\xa4type\xa4note\xa6number\x03",
    ];
    for expected in expected {
        let message = timeout(PATIENCE, published.next()).await.expect("in time").unwrap();
        assert_eq!(message.payload, expected);
    }
    assert_eq!(member.hears().await, "3");
}

/// A process whose queue is full passes messages on, so that they reach a process with room.
#[actix_web::test]
async fn a_process_with_a_full_queue_passes_messages_on() {
    let server = NatsServer::watched();
    let sender = ready(&server, LayerConfig::new()).await;
    let small = ready(&server, LayerConfig::new().capacity(1)).await;
    let large = ready(&server, LayerConfig::new()).await;
    reads(&small, &server).await;
    reads(&large, &server).await;
    for number in 0..50 {
        sender.send(&jobs(), note(number)).await.unwrap();
    }
    assert!(small.metrics().queue_full > 0, "it was offered messages again and again");
    let mut all = BTreeSet::from([next(&small).await]);
    for _ in 0..49 {
        all.insert(next(&large).await);
    }
    assert_eq!(all, (0..50).collect());
}

/// A process that no longer reads stops being a reader after the expiry of a message. Its messages are handed on, and run
/// in another process.
#[actix_web::test]
async fn jobs_that_a_reader_leaves_run_in_another_process() {
    let server = NatsServer::watched();
    let sender = ready(&server, LayerConfig::new()).await;
    let fickle = ready(&server, LayerConfig::new().expiry(Duration::from_secs(2))).await;
    reads(&fickle, &server).await;
    for number in 0..5 {
        sender.send(&jobs(), note(number)).await.unwrap();
    }
    let steady = ready(&server, LayerConfig::new()).await;
    for number in 0..5 {
        assert_eq!(next(&steady).await, number, "the jobs keep their order");
    }
    assert_eq!((fickle.metrics().expired, fickle.backend().groups().queue_count()), (0, 0));
    // From now on all jobs go to the other process.
    for number in 10..20 {
        sender.send(&jobs(), note(number)).await.unwrap();
        assert_eq!(next(&steady).await, number);
    }
}

/// If no other process can take them, messages stay for a later `receive`. Until then the channel has no receiver.
#[actix_web::test]
async fn messages_that_no_other_process_takes_stay() {
    let server = NatsServer::watched();
    let sender = ready(&server, LayerConfig::new()).await;
    let only = ready(&server, LayerConfig::new().expiry(Duration::from_secs(2))).await;
    reads(&only, &server).await;
    let mut sent = 0;
    while sender.send(&jobs(), note(sent)).await.is_ok() {
        sent += 1;
        // A busy process is still a reader. Far fewer messages than the capacity come until it counts as gone.
        sleep(Duration::from_millis(100)).await;
    }
    assert!(sent > 1, "the process was a reader for a while");
    let mut got: Vec<u64> = Vec::new();
    let collect = async {
        while (got.len() as u64) + only.metrics().expired < sent {
            match only.receive(&jobs()).now_or_never() {
                Some(job) => got.push(job.unwrap().event::<Note>().unwrap().number),
                // The messages are being offered to other processes, but no other one reads.
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, collect).await.expect("each message is there or has expired");
    assert!(got.is_sorted() && got.last() == Some(&(sent - 1)), "{got:?} of {sent}");
    // The process reads again.
    assert_eq!(only.metrics().queue_full, 0);
    reads_again(&only, &sender).await;
}

/// Waits until NATS knows a process as a reader again.
async fn reads_again(layer: &Layer, sender: &Layer) {
    let known = async { while sender.send(&jobs(), note(0)).await == Err(LayerError::NoReceiver) {} };
    timeout(PATIENCE, known).await.expect("NATS knows in time");
    assert_eq!(next(layer).await, 0);
}

/// A process that ends hands on the messages that it has not read.
#[actix_web::test]
async fn a_process_that_ends_hands_on_its_unread_messages() {
    let server = NatsServer::watched();
    let sender = ready(&server, LayerConfig::new()).await;
    let ending = ready(&server, LayerConfig::new()).await;
    reads(&ending, &server).await;
    for number in 0..20 {
        sender.send(&jobs(), note(number)).await.unwrap();
    }
    let steady = ready(&server, LayerConfig::new()).await;
    reads(&steady, &server).await;
    ending.close().await;
    for number in 0..20 {
        assert_eq!(next(&steady).await, number);
    }
}

/// If several processes put a plain channel into a group, each of them gets a copy of the group's events.
#[actix_web::test]
async fn a_plain_channel_in_a_group_gets_a_copy_in_each_process() {
    let server = NatsServer::start();
    let (layer, other) = (ready(&server, LayerConfig::new()).await, ready(&server, LayerConfig::new()).await);
    for layer in [&layer, &other] {
        layer.group_add(&group("room"), &jobs()).await.unwrap();
    }
    other.group_send(&group("room"), note(1)).await.unwrap();
    assert_eq!((next(&layer).await, next(&other).await), (1, 1), "a copy each");
}
