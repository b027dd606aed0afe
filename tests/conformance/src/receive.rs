//! Readers that wait, are dropped, or share a queue.

use std::future::poll_fn;

use actix_web::rt;
use futures_util::{FutureExt, future::join_all};
use greenroom::{Layer, LayerConfig};
use integration_tests::PATIENCE;
use tokio::{task::yield_now, time::timeout};

use crate::{
    Server,
    common::{assert_holds, assert_nothing_left, channel, next_note, note, on_thread, one, queue},
};

/// Starts a reader of one note, and lets it run until it waits.
async fn waiting_reader(layer: &Layer, name: &str) -> rt::task::JoinHandle<u64> {
    let (layer, channel) = (layer.clone(), channel(name));
    let reader = rt::spawn(async move { next_note(&layer, &channel).await });
    yield_now().await;
    reader
}

/// `test_race_empty`: a reader goes on waiting while its queue is drained and flushed.
pub async fn a_receive_waits_on_when_its_queue_is_drained<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    let reader = waiting_reader(&layer, &jobs).await;
    // This reader comes later, but it runs at once and takes the message first.
    layer.send(&jobs, note(1)).await.unwrap();
    let first = layer.receive(&jobs).now_or_never();
    if first.is_some() {
        // The first reader was woken for nothing, and waits again.
        yield_now().await;
        layer.flush().await.unwrap();
        assert!(!reader.is_finished());
        layer.send(&jobs, note(1)).await.unwrap();
    }
    assert_eq!(timeout(PATIENCE, reader).await.expect("the reader is woken").unwrap(), 1);
    assert_nothing_left(&layer);
}

/// `test_receive_hang`: a reader of an empty channel waits without an error. When it is dropped, nothing is left.
pub async fn a_receive_that_is_given_up_leaves_nothing_behind<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let local = layer.new_channel().await.unwrap();
    let mut receive = Box::pin(layer.receive(&local));
    assert!(poll_fn(|cx| receive.as_mut().poll(cx).map(Some)).now_or_never().is_none(), "nothing was sent");
    drop(receive);
    assert_nothing_left(&layer);
}

/// Rule 8 (mended); `test_receive_cancel`: a receive dropped at any of 100 points loses nothing and blocks nobody.
pub async fn rule_8_a_dropped_receive_loses_nothing<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    for point in 0..100_u64 {
        let (sent_after, dropped_after) = (point / 10, point % 10);
        let sender = rt::spawn({
            let (layer, jobs) = (layer.clone(), jobs.clone());
            async move {
                for _ in 0..sent_after {
                    yield_now().await;
                }
                layer.send(&jobs, note(point)).await.unwrap();
            }
        });
        let patience = async {
            for _ in 0..dropped_after {
                yield_now().await;
            }
        };
        let received = tokio::select! {
            biased;
            () = patience => None,
            received = layer.receive(&jobs) => Some(received.unwrap().event::<super::common::Note>().unwrap().number),
        };
        sender.await.unwrap();
        let received = match received {
            Some(number) => number,
            None => next_note(&layer, &jobs).await,
        };
        assert_eq!(received, point);
    }
    assert_nothing_left(&layer);
}

/// Rule 8 (mended): if a message wakes a reader, and the reader is dropped before it runs, the next reader gets it.
pub async fn rule_8_a_dropped_readers_message_goes_to_the_next<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    for number in 0..10 {
        let first = waiting_reader(&layer, &jobs).await;
        let second = waiting_reader(&layer, &jobs).await;
        layer.send(&jobs, note(number)).await.unwrap();
        first.abort();
        let received = match first.await {
            // The first reader already had the message.
            Ok(received) => {
                second.abort();
                received
            }
            Err(_) => timeout(PATIENCE, second).await.expect("the second is woken").unwrap(),
        };
        assert_eq!(received, number);
    }
}

/// Rule 24: four readers of one queue get each message once, and no reader waits while there is a message.
pub async fn rule_24_readers_share_a_queue<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    let read = |_| {
        let (layer, jobs) = (layer.clone(), jobs.clone());
        async move {
            let mut read = Vec::new();
            for _ in 0..25 {
                read.push(next_note(&layer, &jobs).await);
            }
            assert!(read.is_sorted(), "in the order they were sent: {read:?}");
            read
        }
    };
    let send = async {
        for number in 0..100 {
            layer.send(&jobs, note(number)).await.unwrap();
            if number % 7 == 0 {
                yield_now().await;
            }
        }
    };
    let (read, ()) = tokio::join!(join_all((0..4).map(read)), send);
    let mut all = read.concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_nothing_left(&layer);
}

/// `test_double_receive`: two threads, each with its own runtime, receive from their own channels.
pub async fn two_runtimes_receive_at_once<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let read = |layer: Layer, number| {
        on_thread(move || {
            rt::System::new().block_on(async {
                let local = layer.new_channel().await.unwrap();
                let reader = waiting_reader(&layer, &local).await;
                layer.send(&local, note(number)).await.unwrap();
                reader.await.unwrap()
            })
        })
    };
    let both = tokio::join!(read(layer.clone(), 1), read(layer.clone(), 2));
    assert_eq!(both, (1, 2));
    assert_holds(&layer, &queue::<S>(&layer, "jobs").await, &[]).await;
    assert_nothing_left(&layer);
}
