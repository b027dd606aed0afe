//! Several threads and runtimes over one layer at once.

use std::{sync::Arc, time::Duration};

use greenroom::{Layer, LayerConfig, LayerError, history::History, testing::LiveServer};
use integration_tests::{Client, PATIENCE, eventually};
use tokio::{sync::Barrier, time::timeout};

use crate::{
    Server,
    common::{Note, assert_nothing_left, group, next, note, on_thread, one, queue},
    recorder::{Recorder, assert_in_order},
};

const SENDERS: usize = 4;

/// Sends `count` notes to `room` from a thread without a runtime.
async fn group_send_from_thread(layer: Layer, sender: usize, count: u64) {
    on_thread(move || {
        for number in 0..count {
            layer.group_send_blocking(&group("room"), Note { sender, number }).unwrap();
        }
    })
    .await;
}

/// Four threads send 1,000 events each to a group. Every member on every thread of the server hears all of them, in
/// each sender's order. An inbox of 100 does not limit a member that runs.
pub async fn sends_of_four_threads_all_arrive<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(100)).await;
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 2).unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(&server, "/room/").await);
    }
    let senders = (0..SENDERS).map(|sender| group_send_from_thread(layer.clone(), sender, 1_000));
    futures_util::future::join_all(senders).await;
    eventually("every member heard everything", || recorder.count() == clients.len() * SENDERS * 1_000).await;

    let heard = recorder.heard();
    assert_eq!(heard.len(), clients.len(), "members");
    for notes in heard.values() {
        assert_in_order(notes);
        assert_eq!(notes.len(), SENDERS * 1_000);
    }
    let metrics = layer.metrics();
    assert_eq!((metrics.inbox_full, metrics.thread_behind), (0, 0));
    for client in clients {
        client.close().await;
    }
    timeout(PATIENCE, server.wait_until_empty()).await.expect("all leave");
    assert_nothing_left(&layer);
}

/// Four threads send to a group that keeps its events. A queue gets them in the order of the log, as a consumer does.
pub async fn queues_get_the_order_of_the_log<S: Server>() {
    const COUNT: u64 = 250;
    let kept = History::last(SENDERS * COUNT as usize);
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(10_000).history("room", kept)).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    layer.group_add(&group("room"), &jobs).await.unwrap();
    // Without a consumer a process that keeps its own logs has none.
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 1).unwrap();
    let _client = Client::connect(&server, "/room/").await;
    let senders = (0..SENDERS).map(|sender| group_send_from_thread(layer.clone(), sender, COUNT));
    futures_util::future::join_all(senders).await;
    let log = layer.history(&group("room")).limit(SENDERS * COUNT as usize).read().await.unwrap();
    assert_eq!(log.events.len(), SENDERS * COUNT as usize);
    let numbers = |note: &Note| (note.sender, note.number);
    for kept in log.events {
        let heard = next(&layer, &jobs).await.event::<Note>().unwrap();
        assert_eq!(numbers(&heard), numbers(&kept.envelope.event::<Note>().unwrap()));
    }
}

/// `test_multi_event_loop_garbage_collection`, `test_loop_instance_channel_layer_reference`: tasks of a runtime with
/// many threads, plain threads and this thread use a layer at once. Each message arrives once, in its sender's order.
pub async fn all_kinds_of_threads_can_use_a_layer_at_once<S: Server>() {
    const COUNT: u64 = 200;
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(10_000)).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    layer.group_add(&group("room"), &jobs).await.unwrap();
    let tasks = on_thread({
        let (layer, jobs) = (layer.clone(), jobs.clone());
        move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let send = |sender| {
                    let (layer, jobs) = (layer.clone(), jobs.clone());
                    tokio::spawn(async move {
                        for number in 0..COUNT {
                            layer.send(&jobs, Note { sender, number }).await.unwrap();
                        }
                    })
                };
                let (first, second) = tokio::join!(send(0), send(1));
                first.and(second).unwrap();
            });
        }
    });
    let here = async {
        for number in 0..COUNT {
            layer.group_send(&group("room"), Note { sender: 3, number }).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let mut received: Vec<Note> = Vec::new();
    let read = async {
        while received.len() < 4 * COUNT as usize {
            received.push((*next(&layer, &jobs).await.event::<Note>().unwrap()).clone());
        }
    };
    tokio::join!(tasks, group_send_from_thread(layer.clone(), 2, COUNT), here, read);
    assert_in_order(&received);
    assert_eq!(received.len(), 4 * COUNT as usize);
    layer.group_discard(&group("room"), &jobs).await.unwrap();
    assert_nothing_left(&layer);
}

/// Rule 24: readers on several threads share a queue. Each message goes to one of them, and no reader waits while the
/// queue has a message.
pub async fn rule_24_readers_on_threads_share_a_queue<S: Server>() {
    const ROUNDS: u64 = 2_000;
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    // In each round two readers look at an empty queue while two messages come.
    let start = Arc::new(Barrier::new(3));
    let read = || {
        let (layer, jobs, start) = (layer.clone(), jobs.clone(), Arc::clone(&start));
        on_thread(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut read = Vec::new();
                for _ in 0..ROUNDS {
                    start.wait().await;
                    read.push(next(&layer, &jobs).await.event::<Note>().unwrap().number);
                }
                read
            })
        })
    };
    let send = async {
        for round in 0..ROUNDS {
            start.wait().await;
            layer.send(&jobs, note(2 * round)).await.unwrap();
            layer.send(&jobs, note(2 * round + 1)).await.unwrap();
        }
    };
    let (first, second, ()) = tokio::join!(read(), read(), send);
    let mut all = [first, second].concat();
    all.sort_unstable();
    assert_eq!(all, (0..2 * ROUNDS).collect::<Vec<_>>());
    assert_nothing_left(&layer);
}

/// Rule 23: a channel takes exactly as many messages as its capacity, even if threads race for the last place.
pub async fn rule_23_capacity_is_exact_when_threads_race<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(50)).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    let send = |sender| {
        let (layer, jobs) = (layer.clone(), jobs.clone());
        on_thread(move || {
            let sent = (0..40).filter(|&number| layer.send_blocking(&jobs, Note { sender, number }).is_ok());
            sent.count()
        })
    };
    let sent = futures_util::future::join_all((0..SENDERS).map(send)).await;
    assert_eq!(sent.iter().sum::<usize>(), 50);
    assert_eq!(layer.metrics().queue_full, 40 * SENDERS as u64 - 50);
    let mut received = Vec::new();
    for _ in 0..50 {
        received.push((*next(&layer, &jobs).await.event::<Note>().unwrap()).clone());
    }
    assert_in_order(&received);
    assert_nothing_left(&layer);
}

/// Rule 23: a send to a running consumer does not fail, however many threads send at once. They wait until it has run.
pub async fn rule_23_a_running_consumer_refuses_nothing<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(2)).await;
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 1).unwrap();
    let client = Client::connect(&server, "/lobby/").await;
    let member = recorder.member().await;
    let send = |sender| {
        let (layer, member) = (layer.clone(), member.clone());
        on_thread(move || {
            (0..100).try_for_each(|number| layer.send_blocking(&member, Note { sender, number }))
        })
    };
    for sent in futures_util::future::join_all((0..8).map(send)).await {
        assert_eq!(sent, Ok(()));
    }
    eventually("all notes are heard", || recorder.count() == 800).await;
    client.close().await;
}

/// A membership is in force when a join from another thread returns, and over when the leave returns.
pub async fn joins_and_leaves_from_another_thread_are_exact<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 1).unwrap();
    let client = Client::connect(&server, "/lobby/").await;
    let member = recorder.member().await;
    let room = group("room");
    for number in 0..100 {
        layer.group_add(&room, &member).await.unwrap();
        assert_eq!(layer.group_send_counted(&room, note(number)).await.unwrap().delivered, 1);
        layer.group_discard(&room, &member).await.unwrap();
        assert_eq!(layer.group_send_counted(&room, note(1_000)).await.unwrap().delivered, 0);
    }
    client.close().await;
    timeout(PATIENCE, server.wait_until_empty()).await.expect("the client leaves");
    let heard: Vec<_> = recorder.heard().remove(&member).unwrap().iter().map(|note| note.number).collect();
    assert_eq!(heard, (0..100).collect::<Vec<_>>());
    assert_nothing_left(&layer);
}

/// After a server has stopped at once, its members are in no group, and a send to them fails.
pub async fn a_stopped_server_leaves_no_members_behind<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 2).unwrap();
    let client = Client::connect(&server, "/room/").await;
    let member = recorder.member().await;
    layer.group_send(&group("room"), note(1)).await.unwrap();
    eventually("the member hears", || recorder.count() == 1).await;
    server.drain(Duration::ZERO).await;
    drop(server);
    eventually("the groups are empty", || layer.backend().groups().group_count() == 0).await;
    assert_eq!(layer.group_send_counted(&group("room"), note(2)).await.unwrap().delivered, 0);
    assert_eq!(layer.send(&member, note(3)).await, Err(LayerError::NoReceiver));
    client.abort();
}
