//! Members that come and go while others send.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use greenroom::{ChannelName, Layer, LayerConfig, testing::LiveServer};
use integration_tests::{Client, PATIENCE, eventually};
use tokio::time::timeout;

use crate::{
    Server,
    common::{Note, assert_nothing_left, group, next, on_thread, one, queue},
    recorder::{Recorder, assert_in_order},
};

const SENDERS: usize = 2;
const COUNT: u64 = 1_000;

/// Lets channels join and leave `room` on a new thread, until `stop` is set.
async fn toggle(layer: Layer, channels: Vec<ChannelName>, stop: Arc<AtomicBool>) {
    on_thread(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !stop.load(Relaxed) {
                for channel in &channels {
                    layer.group_add(&group("room"), channel).await.unwrap();
                }
                for channel in &channels {
                    layer.group_discard(&group("room"), channel).await.unwrap();
                }
            }
        });
    })
    .await;
}

/// Sends to `room` from several threads, then sets `stop`.
async fn send(layer: Layer, stop: Arc<AtomicBool>) {
    let send = |sender| {
        let layer = layer.clone();
        on_thread(move || {
            for number in 0..COUNT {
                layer.group_send_blocking(&group("room"), Note { sender, number }).unwrap();
            }
        })
    };
    futures_util::future::join_all((0..SENDERS).map(send)).await;
    stop.store(true, Relaxed);
}

/// While other threads make consumers join and leave, the others hear everything, and nobody hears an event twice.
pub async fn consumers_join_and_leave_while_others_send<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 2).unwrap();
    let mut clients = Vec::new();
    for path in ["/lobby/", "/lobby/", "/lobby/", "/lobby/"] {
        clients.push(Client::connect(&server, path).await);
    }
    let restless: Vec<_> = recorder.heard().into_keys().collect();
    clients.push(Client::connect(&server, "/room/").await);
    clients.push(Client::connect(&server, "/room/").await);
    let steady: Vec<_> = recorder.heard().into_keys().filter(|name| !restless.contains(name)).collect();

    let stop = Arc::new(AtomicBool::new(false));
    let (some, others) = restless.split_at(2);
    tokio::join!(
        toggle(layer.clone(), some.to_vec(), Arc::clone(&stop)),
        toggle(layer.clone(), others.to_vec(), Arc::clone(&stop)),
        send(layer.clone(), stop),
    );
    let all = SENDERS * COUNT as usize;
    eventually("the members that stay hear all", || {
        steady.iter().all(|name| recorder.heard()[name].len() >= all)
    })
    .await;
    for client in clients {
        client.close().await;
    }
    timeout(PATIENCE, server.wait_until_empty()).await.expect("all leave");
    for (name, notes) in recorder.heard() {
        assert_in_order(&notes);
        assert!(notes.len() == all || restless.contains(&name));
    }
    assert_nothing_left(&layer);
}

/// The same for queues.
pub async fn queues_join_and_leave_while_others_send<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(10_000)).await;
    let (restless, steady) = (queue::<S>(&layer, "restless").await, queue::<S>(&layer, "steady").await);
    layer.group_add(&group("room"), &steady).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let toggled = toggle(layer.clone(), vec![restless.clone()], Arc::clone(&stop));
    tokio::join!(toggled, send(layer.clone(), stop));
    let all = SENDERS * COUNT as usize;
    for (channel, at_least) in [(&steady, all), (&restless, 0)] {
        // This note follows all others, so it marks the end of the queue.
        let last = Note { sender: SENDERS, number: 0 };
        layer.send(channel, &last).await.unwrap();
        let mut notes = Vec::new();
        while notes.last() != Some(&last) {
            notes.push((*next(&layer, channel).await.event::<Note>().unwrap()).clone());
        }
        assert_in_order(&notes);
        assert!(notes.len() > at_least, "{channel} has {}", notes.len());
    }
    layer.group_discard(&group("room"), &steady).await.unwrap();
    assert_nothing_left(&layer);
}

/// Connections that come and go while others send leave nothing behind.
pub async fn clients_come_and_go_while_others_send<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let recorder = Recorder::new();
    let server = LiveServer::start(&recorder.mount(&layer), 2).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let visitors = async {
        let mut visits = 0;
        while !stop.load(Relaxed) || visits < 10 {
            let (polite, rude) =
                (Client::connect(&server, "/room/").await, Client::connect(&server, "/room/").await);
            rude.abort();
            assert_eq!(polite.close().await.0, 1000);
            visits += 1;
        }
    };
    tokio::join!(visitors, send(layer.clone(), Arc::clone(&stop)));
    timeout(PATIENCE, server.wait_until_empty()).await.expect("all leave");
    for notes in recorder.heard().values() {
        assert_in_order(notes);
    }
    assert_nothing_left(&layer);
}
