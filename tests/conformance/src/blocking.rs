//! Calls from threads without a runtime.

use actix_web::rt;
use greenroom::{Layer, LayerConfig, LayerError};

use crate::{
    Server,
    common::{Members, assert_holds, group, note, on_thread, one, queue},
};

/// `test_send_receive_sync`, `test_groups_basic` of pubsub with `async_to_sync`: a plain thread can send.
pub async fn a_thread_without_a_runtime_can_send<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(3)).await;
    let (room, jobs) = (group("room"), queue::<S>(&layer, "jobs").await);
    let mut member = Members::new(&layer).of("room").await;
    layer.group_add(&room, &jobs).await.unwrap();
    let name = member.channel();
    let sent = on_thread({
        let (layer, room, jobs, name) = (layer.clone(), room.clone(), jobs.clone(), name.clone());
        move || {
            layer.send_blocking(&jobs, note(1))?;
            layer.send_blocking(&name, note(2))?;
            layer.group_send_blocking(&room, note(3))?;
            layer.send_blocking(&jobs, note(4))?;
            layer.send_blocking(&jobs, note(5))
        }
    });
    assert_eq!(sent.await, Err(LayerError::ChannelFull(jobs.clone())), "the error arrives as well");
    member.assert_hears(&[2, 3]).await;
    assert_holds(&layer, &jobs, &[1, 3, 4]).await;
    member.leave().await;
}

/// `test_repeated_group_send_with_async_to_sync`: many sends to a group, each from a new thread.
pub async fn each_new_thread_can_send_to_a_group<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let mut member = Members::new(&layer).of("room").await;
    for number in 0..20 {
        let layer = layer.clone();
        on_thread(move || layer.group_send_blocking(&group("room"), note(number))).await.unwrap();
        member.assert_hears(&[number]).await;
    }
    member.leave().await;
}

/// A blocking call on a thread with consumers would stop all of them, so it is refused.
pub async fn a_blocking_send_on_a_servers_thread_is_refused<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let mut member = Members::new(&layer).of("room").await;
    member.0.send_text("block");
    for _ in ["group_send_blocking", "send_blocking"] {
        assert_eq!(member.hears().await.unwrap(), format!("{:?}", Err::<(), _>(LayerError::WouldBlock)));
    }
    assert_eq!(layer.group_send_blocking(&group("room"), note(2)), Err(LayerError::WouldBlock));
    layer.group_send(&group("room"), note(3)).await.unwrap();
    member.assert_hears(&[3]).await;
    member.leave().await;
}

/// Lets a consumer live and end on this thread, in a runtime that ends with it.
fn run_a_consumer(layer: &Layer) {
    rt::System::new().block_on(async {
        let mut member = Members::new(layer).of("room").await;
        layer.group_send(&group("room"), note(1)).await.unwrap();
        member.assert_hears(&[1]).await;
        member.leave().await;
    });
}

/// A thread may block again when it runs no consumers any more.
pub async fn a_thread_may_block_again_after_its_consumers_have_ended<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let sent = on_thread(move || {
        run_a_consumer(&layer);
        layer.group_send_blocking(&group("room"), note(2))
    });
    assert_eq!(sent.await, Ok(()));
}

/// Other threads reach the consumers in a thread's second runtime, as they reached those in its first.
pub async fn consumers_in_a_threads_second_runtime_are_reached<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    on_thread(move || {
        run_a_consumer(&layer);
        rt::System::new().block_on(async {
            let mut member = Members::new(&layer).of("room").await;
            layer.send(&member.channel(), note(1)).await.unwrap();
            let from_afar = layer.clone();
            on_thread(move || from_afar.group_send_blocking(&group("room"), note(2))).await.unwrap();
            member.assert_hears(&[1, 2]).await;
            member.leave().await;
        });
    })
    .await;
}
