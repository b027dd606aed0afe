//! Closed layers: no call waits for the server any more, and the members of this process are still served.

use std::time::Duration;

use actix_web::rt;
use greenroom::{ChannelName, LayerError};

use crate::faulty::{FaultyServer, Member, Settings, group, layer, note, on, soon};

/// Settings that let the server take a minute to answer.
fn patient<S: FaultyServer>(server: &mut S) -> Settings {
    Settings { timeout: Duration::from_secs(60), ..on(server) }
}

/// After a process has closed its layer, its consumers still join, send and leave, as while the server is away.
pub async fn consumers_work_after_their_layer_is_closed<S: FaultyServer>() {
    let mut server = S::start();
    let layer = layer::<S>(patient(&mut server)).await;
    let mut before = Member::of(&layer, &["room"]).await;
    soon(layer.close()).await;
    let mut after = soon(Member::of(&layer, &["room", "hall"])).await;
    soon(layer.group_send(&group("room"), &note(1))).await.unwrap();
    soon(layer.group_send(&group("hall"), &note(2))).await.unwrap();
    assert_eq!(before.hears().await, "1");
    assert_eq!((after.hears().await, after.hears().await), ("1".to_owned(), "2".to_owned()));
    let own = layer.new_channel().await.unwrap();
    soon(layer.group_add(&group("room"), &own)).await.unwrap();
    let _ = soon(layer.group_discard(&group("room"), &own)).await;
    soon(after.leave()).await;
    // A second close does nothing.
    soon(layer.close()).await;
    let sent = layer.send(&ChannelName::new("jobs").unwrap(), &note(0)).await;
    assert!(matches!(&sent, Err(LayerError::Unavailable(why)) if why.contains("ended")), "{sent:?}");
    server.assert_left();
}

/// When the layer is closed, a send that waits for a frozen server ends, and reaches the members of this process.
pub async fn a_waiting_send_ends_when_its_layer_is_closed<S: FaultyServer>() {
    let mut server = S::start();
    let layer = layer::<S>(patient(&mut server)).await;
    let mut member = Member::of(&layer, &["room"]).await;
    server.process().pause();
    let sending = rt::spawn({
        let layer = layer.clone();
        async move { layer.group_send_counted(&group("room"), &note(1)).await }
    });
    tokio::task::yield_now().await;
    soon(layer.close()).await;
    soon(sending).await.unwrap().unwrap();
    assert_eq!(member.hears().await, "1");
    soon(layer.group_send(&group("room"), &note(2))).await.unwrap();
    assert_eq!(member.hears().await, "2");
    server.process().resume();
}

/// `close` writes the events that still wait: the last event arrives, and `close` returns.
pub async fn close_writes_events_that_still_wait<S: FaultyServer>() {
    let mut server = S::start();
    let other = layer::<S>(on(&mut server)).await;
    let mut member = Member::of(&other, &["room"]).await;
    for number in 0..20 {
        let layer = layer::<S>(on(&mut server)).await;
        layer.group_send(&group("room"), &note(number)).await.unwrap();
        layer.close().await;
        assert_eq!(member.hears().await, number.to_string());
        let sent = layer.send(&ChannelName::new("jobs").unwrap(), &note(0)).await;
        assert!(matches!(sent, Err(LayerError::Unavailable(_))), "{sent:?}");
    }
}
