//! The bounds on how many queues there are.

use greenroom::{LayerConfig, LayerError};

use crate::{
    Server,
    common::{assert_holds, assert_nothing_left, group, note, one, refusal},
};

/// At most so many queues of a process hold messages at once; one that is drained makes room.
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
    layer.send(&first, note(2)).await.expect("a queue that is there may grow");

    assert_holds(&layer, &first, &[1, 2]).await;
    layer.send(&third, note(3)).await.unwrap();
    assert_holds(&layer, &third, &[3]).await;
    assert_holds(&layer, &second, &[1]).await;
    assert_nothing_left(&layer);
}

/// A group has at most so many queues of a process; those in it can be renewed, and one that leaves makes room.
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
    layer.group_add(&hall, &third).await.expect("another group has room of its own");
    layer.group_add(&room, &first).await.expect("it is in the group already");

    layer.group_discard(&room, &first).await.unwrap();
    layer.group_add(&room, &third).await.unwrap();
    layer.group_send(&room, note(1)).await.unwrap();
    assert_holds(&layer, &first, &[]).await;
    assert_holds(&layer, &second, &[1]).await;
    assert_holds(&layer, &third, &[1]).await;
}
