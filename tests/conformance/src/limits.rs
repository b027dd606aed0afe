//! Limits on the number of queues.

use greenroom::{LayerConfig, LayerError};

use crate::{
    Server,
    common::{assert_holds, assert_nothing_left, group, note, one, refusal},
};

/// A process has a limit on the queues that hold messages. A queue that is drained makes room.
pub async fn the_number_of_queues_is_limited<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().channels(2)).await;
    let (first, second, third) = (
        layer.new_channel().await.unwrap(),
        layer.new_channel().await.unwrap(),
        layer.new_channel().await.unwrap(),
    );
    layer.send(&first, note(1)).await.unwrap();
    layer.send(&second, note(1)).await.unwrap();
    let full = LayerError::TooManyChannels { limit: 2 };
    assert_eq!(layer.send(&third, note(1)).await, Err(full.clone()));
    assert_eq!(refusal(&layer, &third).await, full);
    layer.send(&first, note(2)).await.expect("a queue that exists may grow");

    assert_holds(&layer, &first, &[1, 2]).await;
    layer.send(&third, note(3)).await.unwrap();
    assert_holds(&layer, &third, &[3]).await;
    assert_holds(&layer, &second, &[1]).await;
    assert_nothing_left(&layer);
}

/// A group has a limit on the queues of a process. A member can be renewed, and a queue that leaves makes room.
pub async fn the_number_of_queues_in_a_group_is_limited<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().group_queues(2)).await;
    let (room, hall) = (group("room"), group("hall"));
    let (first, second, third) = (
        layer.new_channel().await.unwrap(),
        layer.new_channel().await.unwrap(),
        layer.new_channel().await.unwrap(),
    );
    layer.group_add(&room, &first).await.unwrap();
    layer.group_add(&room, &second).await.unwrap();
    assert_eq!(layer.group_add(&room, &third).await, Err(LayerError::TooManyQueues { limit: 2 }));
    layer.group_add(&hall, &third).await.expect("another group has its own limit");
    layer.group_add(&room, &first).await.expect("the queue is already in the group");

    layer.group_discard(&room, &first).await.unwrap();
    layer.group_add(&room, &third).await.unwrap();
    layer.group_send(&room, note(1)).await.unwrap();
    assert_holds(&layer, &first, &[]).await;
    assert_holds(&layer, &second, &[1]).await;
    assert_holds(&layer, &third, &[1]).await;
}
