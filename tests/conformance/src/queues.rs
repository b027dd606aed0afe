//! Channels that a program reads: one message after the other, up to a capacity.

use greenroom::{LayerConfig, LayerError};

use crate::{
    Server,
    common::{Members, assert_holds, assert_nothing_left, channel, group, next_note, note, one, queue},
};

/// `test_send_receive` of all layers: a queue exists while it holds a message, and is gone when it is drained.
pub async fn a_message_that_was_sent_is_received<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    layer.send(&jobs, note(1)).await.unwrap();
    assert_eq!(next_note(&layer, &jobs).await, 1);
    assert_nothing_left(&layer);
}

/// `test_multi_send_receive`: first in, first out, in each channel.
pub async fn messages_keep_their_order<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (one, two) = (queue::<S>(&layer, "one").await, queue::<S>(&layer, "two").await);
    for number in 1..=3 {
        layer.send(&one, note(number)).await.unwrap();
        layer.send(&two, note(number + 10)).await.unwrap();
    }
    assert_holds(&layer, &two, &[11, 12, 13]).await;
    assert_holds(&layer, &one, &[1, 2, 3]).await;
    assert_nothing_left(&layer);
}

/// Rule 3; `test_process_local_send_receive`, `test_random_reset__channel_name`: each channel has its own queue.
pub async fn rule_3_a_message_to_a_process_channel_is_received<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (mine, other) = (layer.new_channel().await.unwrap(), layer.new_channel().await.unwrap());
    layer.send(&mine, note(1)).await.unwrap();
    layer.send(&other, note(2)).await.unwrap();
    assert_holds(&layer, &other, &[2]).await;
    assert_holds(&layer, &mine, &[1]).await;
    assert_nothing_left(&layer);
}

/// Rule 23; `test_send_capacity`: with a capacity of three, the fourth send fails, names the channel, and is counted.
/// Each receive makes room for one message.
pub async fn rule_23_a_send_to_a_full_channel_fails<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(3)).await;
    let jobs = queue::<S>(&layer, "jobs").await;
    for number in 1..=3 {
        layer.send(&jobs, note(number)).await.unwrap();
    }
    assert_eq!(layer.send(&jobs, note(4)).await.unwrap_err(), LayerError::ChannelFull(jobs.clone()));
    assert_eq!(layer.metrics().queue_full, 1);
    assert_eq!(next_note(&layer, &jobs).await, 1);
    layer.send(&jobs, note(5)).await.unwrap();
    assert_eq!(layer.send(&jobs, note(6)).await.unwrap_err(), LayerError::ChannelFull(jobs.clone()));
    assert_holds(&layer, &jobs, &[2, 3, 5]).await;
}

/// Rule 23; `test_send_specific_capacity`: a pattern must match the whole name, and the first match counts.
///
/// The in-memory layer of Channels fails with `ValueError` at the first send if there are any patterns.
pub async fn rule_23_channel_capacity_takes_patterns<S: Server>() {
    let config = LayerConfig::new()
        .capacity(5)
        .channel_capacity("one", 1)
        .channel_capacity("t?o", 2)
        .channel_capacity("t*", 3)
        .channel_capacity("specific.*", 4);
    let (_server, layer) = one::<S>(config).await;
    let specific = layer.new_channel().await.unwrap();
    for (name, capacity) in [("one", 1), ("two", 2), ("ten", 3), ("oneself", 5), (specific.as_str(), 4)] {
        let channel = channel(name);
        let mut taken = 0;
        while layer.send(&channel, note(taken)).await.is_ok() {
            taken += 1;
        }
        assert_eq!(taken, capacity, "{name}");
    }
}

/// `flush` of the flush extension: messages and queues' memberships go, consumers stay in their groups.
pub async fn flush_forgets_queues_and_keeps_consumers<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let mut member = Members::new(&layer).of("room").await;
    let (room, jobs, local) =
        (group("room"), queue::<S>(&layer, "jobs").await, layer.new_channel().await.unwrap());
    layer.group_add(&room, &jobs).await.unwrap();
    for channel in [&jobs, &local] {
        layer.send(channel, note(1)).await.unwrap();
    }
    layer.flush().await.unwrap();
    let groups = layer.backend().groups();
    assert_eq!((groups.group_count(), groups.queue_count()), (1, 0));

    layer.group_send(&room, note(2)).await.unwrap();
    member.assert_hears(&[2]).await;
    assert_holds(&layer, &jobs, &[]).await;
    assert_holds(&layer, &local, &[]).await;
    member.leave().await;
    assert_nothing_left(&layer);
}
