//! Events that do something when they are dropped. A layer must not drop an event while it holds a lock.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures_util::FutureExt;
use greenroom::{
    Layer, LayerConfig, LayerError,
    prelude::*,
    testing::{advance, pause},
};

use crate::{
    Server,
    common::{Members, assert_nothing_left, channel, group, next, note, one},
};

thread_local! {
    static LAYER: RefCell<Option<Layer>> = const { RefCell::new(None) };
    static DROPPED: Cell<usize> = const { Cell::new(0) };
}

/// Uses all parts of the layer of its thread when it is dropped.
///
/// The cases send it by reference, because a layer on a server may drop an owned event on another thread.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Farewell;

impl Drop for Farewell {
    fn drop(&mut self) {
        let Some(layer) = LAYER.with_borrow(Clone::clone) else { return };
        let (room, jobs) = (group("farewells"), channel("farewells"));
        // A layer on a server may have to wait. Only the part that runs at once matters here.
        let _ = layer.group_add(&room, &jobs).now_or_never();
        let _ = layer.group_send(&room, &note(0)).now_or_never();
        let _ = layer.receive(&jobs).now_or_never();
        let _ = layer.group_discard(&room, &jobs).now_or_never();
        let groups = layer.backend().groups();
        let _ = (groups.group_count(), groups.queue_count());
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// Lets farewells use `layer` while `scene` runs, and checks that at least one was dropped.
async fn with_farewells(what: &str, layer: &Layer, scene: impl Future<Output = ()>) {
    /// Takes the layer away again, even if the scene panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            LAYER.set(None);
        }
    }
    LAYER.set(Some(layer.clone()));
    let end = End;
    let before = DROPPED.get();
    scene.await;
    drop(end);
    assert!(DROPPED.get() > before, "{what}: no event was dropped");
}

/// The drop of an event may use the layer: after a receive, a refusal or a flush, without a handler, without a member.
pub async fn an_event_may_use_the_layer_when_it_is_dropped<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(1)).await;
    let (room, jobs) = (group("room"), layer.new_channel().await.unwrap());
    with_farewells("received", &layer, async {
        layer.send(&jobs, &Farewell).await.unwrap();
        drop(next(&layer, &jobs).await);
    })
    .await;
    with_farewells("refused by a queue", &layer, async {
        layer.send(&jobs, &Farewell).await.unwrap();
        assert_eq!(layer.send(&jobs, &Farewell).await, Err(LayerError::ChannelFull(jobs.clone())));
    })
    .await;
    with_farewells("flushed", &layer, async { layer.flush().await.unwrap() }).await;
    with_farewells("sent to nobody", &layer, async { layer.group_send(&room, &Farewell).await.unwrap() })
        .await;

    let members = Members::new(&layer);
    let mut member = members.of("room").await;
    let name = member.channel();
    with_farewells("refused by a consumer", &layer, async {
        member.hold().await;
        layer.send(&name, &Farewell).await.unwrap();
        assert_eq!(layer.send(&name, &Farewell).await, Err(LayerError::ChannelFull(name.clone())));
        layer.group_send(&room, &Farewell).await.unwrap();
    })
    .await;
    with_farewells("left in an inbox", &layer, async {
        // The client is gone before the member goes on, so the member never handles the events in its inbox.
        members.release();
        member.0.abort().await;
    })
    .await;
    let member = members.of("room").await;
    with_farewells("unhandled", &layer, async {
        layer.group_send(&room, &Farewell).await.unwrap();
        member.leave().await;
    })
    .await;
    assert_nothing_left(&layer);
}

/// The same for an event that expires, whichever call sweeps it.
pub async fn an_event_may_use_the_layer_when_it_expires<S: Server>() {
    pause();
    let expiry = Duration::from_secs(60);
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(expiry)).await;
    for sweeper in ["send", "receive", "queue_count"] {
        with_farewells(sweeper, &layer, async {
            layer.send(&channel("unread"), &Farewell).await.unwrap();
            advance(expiry).await;
            let jobs = channel("jobs");
            match sweeper {
                "send" => layer.send(&jobs, &note(1)).await.unwrap(),
                "receive" => assert!(layer.receive(&jobs).now_or_never().is_none(), "all has expired"),
                _ => assert_eq!(layer.backend().groups().queue_count(), 0),
            }
        })
        .await;
    }
    assert_nothing_left(&layer);
}
