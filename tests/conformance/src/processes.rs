//! Layers of several processes over one server.

use greenroom::{Layer, LayerConfig, LayerError};

use crate::{
    Server,
    common::{Members, assert_holds, channel, group, next_note, note},
};

pub(crate) async fn two<S: Server>() -> (S, Layer, Layer) {
    let server = S::start().await;
    let (first, second) = (server.make(LayerConfig::new()).await, server.make(LayerConfig::new()).await);
    (server, first, second)
}

/// `test_receive_on_non_owned_general_channel`: a plain channel can be read by any process.
pub async fn any_process_can_receive_from_a_plain_channel<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let jobs = channel("jobs");
    first.send(&jobs, note(1)).await.unwrap();
    first.send(&jobs, note(2)).await.unwrap();
    assert_eq!(next_note(&second, &jobs).await, 1);
    assert_eq!(next_note(&first, &jobs).await, 2);
}

/// `test_process_local_send_receive`: another process can send to a channel that only this one reads.
pub async fn any_process_can_send_to_a_process_channel<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let local = first.new_channel().await.unwrap();
    second.send(&local, note(1)).await.unwrap();
    assert_eq!(next_note(&first, &local).await, 1);
    assert_holds(&first, &local, &[]).await;
}

/// `test_groups_basic`: a group has members in several processes, and each hears an event once.
pub async fn a_group_spans_processes<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let (room, jobs) = (group("room"), first.new_channel().await.unwrap());
    let mut here = Members::new(&first).of("room").await;
    let mut there = Members::new(&second).of("room").await;
    first.group_add(&room, &jobs).await.unwrap();
    for (number, layer) in [(1, &first), (2, &second)] {
        layer.group_send(&room, note(number)).await.unwrap();
        // No order is promised between senders in two processes.
        here.assert_hears(&[number]).await;
        there.assert_hears(&[number]).await;
        assert_eq!(next_note(&first, &jobs).await, number);
    }
    assert_holds(&first, &jobs, &[]).await;
    here.leave().await;
    there.leave().await;
}

/// A count has a member from its join to its leave, beside what it has of another process. The layer's server may learn
/// of both late.
pub async fn a_count_follows_joins_and_leaves<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let room = group("room");
    let mut here = Members::new(&first).alone().await;
    let mut there = Members::new(&second).of("room").await;
    let count = async |number| first.group_send_counted(&room, note(number)).await.unwrap().delivered;
    let without = count(0).await;
    there.assert_hears(&[0]).await;
    for number in 1..=50 {
        first.group_add(&room, &here.channel()).await.unwrap();
        assert_eq!(count(number).await, without + 1);
        first.group_discard(&room, &here.channel()).await.unwrap();
        assert_eq!(count(1_000).await, without);
        here.assert_hears(&[number]).await;
        there.assert_hears(&[number, 1_000]).await;
    }
    here.leave().await;
    there.leave().await;
}

/// A plain channel in a group gets each event once, whoever sends it. Any process can receive it.
pub async fn a_plain_channel_in_a_group_gets_each_event_once<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let (room, jobs) = (group("room"), channel("jobs"));
    first.group_add(&room, &jobs).await.unwrap();
    for (number, layer) in [(1, &first), (2, &second)] {
        assert_eq!(layer.group_send_counted(&room, note(number)).await.unwrap().delivered, 1);
    }
    assert_holds(&second, &jobs, &[1, 2]).await;
}

/// Rule 31: the sender's configuration says how many messages a channel takes, and not the receiver's.
pub async fn rule_31_the_senders_capacity_counts<S: Server>() {
    let server = S::start().await;
    let strict = server.make(LayerConfig::new().capacity(1)).await;
    let generous = server.make(LayerConfig::new().capacity(3)).await;
    let jobs = channel("jobs");
    for number in 1..=3 {
        generous.send(&jobs, note(number)).await.unwrap();
    }
    let full = LayerError::ChannelFull(jobs.clone());
    assert_eq!(generous.send(&jobs, note(4)).await, Err(full.clone()));
    for number in 1..=3 {
        assert_eq!(strict.send(&jobs, note(5)).await, Err(full.clone()));
        assert_eq!(next_note(&strict, &jobs).await, number);
    }
    strict.send(&jobs, note(6)).await.unwrap();
    assert_eq!(next_note(&generous, &jobs).await, 6);
}

/// Rule 28: a consumer of another process can be sent to, and made a member.
pub async fn rule_28_a_consumer_is_reached_from_another_process<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let mut member = Members::new(&first).alone().await;
    second.send(&member.channel(), note(1)).await.unwrap();
    second.group_add(&group("room"), &member.channel()).await.unwrap();
    second.group_send(&group("room"), note(2)).await.unwrap();
    member.assert_hears(&[1, 2]).await;
    member.leave().await;
}
