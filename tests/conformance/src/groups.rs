//! Groups of queues.

use greenroom::LayerConfig;

use crate::{
    Server,
    common::{
        assert_holds, assert_nothing_left, assert_out_of_reach, channel, group, note, one, queue, settled,
    },
};

/// `test_groups_basic`: three queues join, one leaves, and two receive.
pub async fn only_members_of_a_group_receive<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let room = group("room");
    let (first, second) = (layer.new_channel().await.unwrap(), layer.new_channel().await.unwrap());
    let third = queue::<S>(&layer, "third").await;
    for member in [&first, &second, &third] {
        layer.group_add(&room, member).await.unwrap();
    }
    layer.group_discard(&room, &second).await.unwrap();
    layer.group_send(&room, &note(1)).await.unwrap();
    assert_holds(&layer, &first, &[1]).await;
    assert_holds(&layer, &second, &[]).await;
    assert_holds(&layer, &third, &[1]).await;

    for member in [&first, &third] {
        layer.group_discard(&room, member).await.unwrap();
    }
    assert_nothing_left(&layer);
}

/// `test_groups_same_prefix`: queues of one process each get the event, once.
pub async fn each_queue_of_a_process_receives_a_groups_event<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let room = group("room");
    let mut members = Vec::new();
    for _ in 0..3 {
        let member = layer.new_channel().await.unwrap();
        layer.group_add(&room, &member).await.unwrap();
        members.push(member);
    }
    for number in 1..=3 {
        layer.group_send(&room, &note(number)).await.unwrap();
    }
    for member in &members {
        assert_holds(&layer, member, &[1, 2, 3]).await;
    }
}

/// Groups do not hear each other, and one queue may be in several.
pub async fn groups_do_not_hear_each_other<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, hall) = (group("room"), group("hall"));
    let (one, both) = (queue::<S>(&layer, "one").await, queue::<S>(&layer, "both").await);
    for (group, member) in [(&room, &one), (&room, &both), (&hall, &both)] {
        layer.group_add(group, member).await.unwrap();
    }
    layer.group_send(&room, &note(1)).await.unwrap();
    layer.group_send(&hall, &note(2)).await.unwrap();
    layer.group_discard(&room, &both).await.unwrap();
    layer.group_send(&room, &note(3)).await.unwrap();
    layer.group_send(&hall, &note(4)).await.unwrap();
    assert_holds(&layer, &one, &[1, 3]).await;
    assert_holds(&layer, &both, &[1, 2, 4]).await;
}

/// Rule 23; `test_groups_channel_full`, `test_group_send_capacity`: a group send never fails. Lost events are counted.
pub async fn rule_23_group_send_never_fails<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(3)).await;
    let (room, full) = (group("room"), queue::<S>(&layer, "full").await);
    layer.group_add(&room, &full).await.unwrap();
    for number in 1..=5 {
        layer.group_send(&room, &note(number)).await.unwrap();
    }
    settled(&layer).await;
    assert_eq!(layer.metrics().queue_full, 2);
    assert_holds(&layer, &full, &[1, 2, 3]).await;
}

/// Rule 23; `test_group_send_capacity_multiple_channels`: only a full member misses the event.
pub async fn rule_23_only_a_full_queue_misses_events<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(3)).await;
    let (room, full, free) =
        (group("room"), queue::<S>(&layer, "full").await, queue::<S>(&layer, "free").await);
    for member in [&full, &free] {
        layer.group_add(&room, member).await.unwrap();
    }
    layer.send(&full, &note(0)).await.unwrap();
    for number in 1..=2 {
        let delivery = layer.group_send_counted(&room, &note(number)).await.unwrap();
        assert_eq!((delivery.delivered, delivery.dropped, delivery.threads_behind), (2, 0, 0));
    }
    let delivery = layer.group_send_counted(&room, &note(3)).await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped, delivery.threads_behind), (1, 1, 0));
    assert_eq!(layer.metrics().queue_full, 1);
    assert_holds(&layer, &full, &[0, 1, 2]).await;
    assert_holds(&layer, &free, &[1, 2, 3]).await;
}

/// Rule 26: a member that joins twice gets each event once, and leaves with one call.
pub async fn rule_26_joining_twice_counts_once<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, member) = (group("room"), queue::<S>(&layer, "member").await);
    layer.group_add(&room, &member).await.unwrap();
    layer.group_add(&room, &member).await.unwrap();
    layer.group_send(&room, &note(1)).await.unwrap();
    layer.group_discard(&room, &member).await.unwrap();
    layer.group_send(&room, &note(2)).await.unwrap();
    assert_holds(&layer, &member, &[1]).await;
    assert_nothing_left(&layer);
}

/// Rule 26; `test_discard_before_add`: a leave does nothing if the queue is not a member, or the group does not exist.
pub async fn rule_26_leaving_without_joining_does_nothing<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, member, other) =
        (group("room"), queue::<S>(&layer, "member").await, queue::<S>(&layer, "other").await);
    layer.group_discard(&room, &member).await.unwrap();
    layer.group_add(&room, &other).await.unwrap();
    layer.group_discard(&room, &member).await.unwrap();
    layer.group_send(&room, &note(1)).await.unwrap();
    assert_holds(&layer, &member, &[]).await;
    assert_holds(&layer, &other, &[1]).await;
}

/// A send to a group without members succeeds, and leaves nothing behind.
pub async fn a_send_to_an_empty_group_succeeds<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let delivery = layer.group_send_counted(&group("room"), &note(1)).await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped), (0, 0));
    assert_nothing_left(&layer);
}

/// Layers on different servers do not reach each other's groups, queues and consumers.
pub async fn layers_on_different_servers_do_not_hear_each_other<S: Server>() {
    let (_server, first) = one::<S>(LayerConfig::new()).await;
    let (_other_server, second) = one::<S>(LayerConfig::new()).await;
    let (room, jobs) = (group("room"), channel("jobs"));
    let member = crate::common::Members::new(&first).of("room").await;
    first.group_add(&room, &jobs).await.unwrap();
    second.group_send(&room, &note(1)).await.unwrap();
    second.send(&jobs, &note(2)).await.unwrap();
    assert_out_of_reach::<S>(&second, &member.channel()).await;
    assert_holds(&first, &jobs, &[]).await;
    assert_holds(&second, &jobs, &[2]).await;
    member.leave().await;
}
