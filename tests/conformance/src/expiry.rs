//! Messages and memberships expire by a clock that the cases move.

use std::time::Duration;

use greenroom::{
    LayerConfig,
    testing::{advance, pause},
};

use crate::{
    Server,
    common::{Members, assert_holds, assert_nothing_left, channel, group, next_note, note, one},
};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const DAY: Duration = seconds(86_400);

/// Rule 25; `test_expiry_single`: a message can be received until it expires. Then it is counted.
pub async fn rule_25_a_message_expires<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(seconds(60))).await;
    let jobs = channel("jobs");
    layer.send(&jobs, note(1)).await.unwrap();
    advance(seconds(59)).await;
    assert_eq!(next_note(&layer, &jobs).await, 1);

    layer.send(&jobs, note(2)).await.unwrap();
    advance(seconds(60)).await;
    assert_nothing_left(&layer);
    assert_eq!(layer.metrics().expired, 1);
    assert_holds(&layer, &jobs, &[]).await;
}

/// Rule 25; `test_expiry_unread`: a send to another channel sweeps a channel that nobody reads.
pub async fn rule_25_an_unread_channel_is_swept<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(seconds(60))).await;
    let (unread, jobs) = (channel("unread"), channel("jobs"));
    for number in 1..=3 {
        layer.send(&unread, note(number)).await.unwrap();
    }
    advance(seconds(61)).await;
    layer.send(&jobs, note(4)).await.unwrap();
    assert_eq!(layer.metrics().expired, 3, "the send swept them");
    assert_holds(&layer, &jobs, &[4]).await;
    assert_nothing_left(&layer);
}

/// Rule 25; `test_expiry_multi`, `test_message_expiry__earliest_message_expires`: old messages expire, fresh ones stay.
pub async fn rule_25_only_fresh_messages_arrive<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(seconds(3))).await;
    let jobs = channel("jobs");
    for number in 1..=3 {
        layer.send(&jobs, note(number)).await.unwrap();
        advance(seconds(2)).await;
    }
    // At 6 s; they were sent at 0, 2 and 4.
    assert_holds(&layer, &jobs, &[3]).await;
    assert_eq!(layer.metrics().expired, 2);
}

/// Rule 25; `test_message_expiry__all_messages_under_expiration_time`: messages that are read in time arrive.
pub async fn rule_25_messages_that_have_not_expired_arrive<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(seconds(3))).await;
    let jobs = channel("jobs");
    for number in 1..=3 {
        layer.send(&jobs, note(number)).await.unwrap();
        advance(Duration::from_millis(900)).await;
    }
    assert_holds(&layer, &jobs, &[1, 2, 3]).await;
    assert_eq!(layer.metrics().expired, 0);
}

/// Rule 25: expired messages make room. Only messages that can still be received count against the capacity.
pub async fn rule_25_expired_messages_make_room<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(1).channels(1).expiry(seconds(60))).await;
    layer.send(&channel("jobs"), note(1)).await.unwrap();
    advance(seconds(60)).await;
    layer.send(&channel("jobs"), note(2)).await.unwrap();
    advance(seconds(60)).await;
    layer.send(&channel("other"), note(3)).await.unwrap();
    assert_holds(&layer, &channel("other"), &[3]).await;
}

/// Rule 25; `test_message_expiry__group_send`: messages that came through a group expire too.
pub async fn rule_25_messages_sent_to_a_group_expire<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(seconds(3))).await;
    let (room, jobs) = (group("room"), channel("jobs"));
    layer.group_add(&room, &jobs).await.unwrap();
    for number in 1..=3 {
        layer.group_send(&room, note(number)).await.unwrap();
        advance(Duration::from_millis(1_400)).await;
    }
    // At 4.2 s; they were sent at 0, 1.4 and 2.8.
    assert_holds(&layer, &jobs, &[2, 3]).await;
}

/// Rule 25; `test_message_expiry__group_send__one_channel_expires_message`: a channel stays in its groups.
///
/// The in-memory layer of Channels takes the channel of an expired message out of all groups.
pub async fn rule_25_an_expired_message_does_not_end_a_membership<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().expiry(seconds(3))).await;
    let (room, slow, quick) = (group("room"), channel("slow"), channel("quick"));
    for member in [&slow, &quick] {
        layer.group_add(&room, member).await.unwrap();
    }
    layer.group_send(&room, note(1)).await.unwrap();
    assert_eq!(next_note(&layer, &quick).await, 1);
    advance(seconds(3)).await;
    layer.group_send(&room, note(2)).await.unwrap();
    assert_holds(&layer, &quick, &[2]).await;
    assert_holds(&layer, &slow, &[2]).await;
}

/// A layer keeps messages and memberships for ever if it is configured so.
pub async fn messages_and_memberships_can_be_kept_for_ever<S: Server>() {
    pause();
    let config = LayerConfig::new().expiry(Duration::MAX).group_expiry(Duration::MAX);
    let (_server, layer) = one::<S>(config).await;
    let (room, jobs) = (group("room"), channel("jobs"));
    layer.group_add(&room, &jobs).await.unwrap();
    layer.group_send(&room, note(1)).await.unwrap();
    advance(DAY * 700).await;
    layer.group_send(&room, note(2)).await.unwrap();
    assert_holds(&layer, &jobs, &[1, 2]).await;
}

/// Rule 27: a queue leaves a group when `group_expiry` has passed since its last `group_add`, even if nobody sends.
pub async fn rule_27_a_queues_membership_expires<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().group_expiry(seconds(10))).await;
    let (room, jobs) = (group("room"), channel("jobs"));
    layer.group_add(&room, &jobs).await.unwrap();
    advance(seconds(9)).await;
    assert_eq!(layer.group_send_counted(&room, note(1)).await.unwrap().delivered, 1);
    advance(seconds(1)).await;
    assert_eq!(layer.group_send_counted(&room, note(2)).await.unwrap().delivered, 0);
    assert_holds(&layer, &jobs, &[1]).await;
    assert_nothing_left(&layer);

    for number in 0..1_000 {
        layer.group_add(&group(&format!("room-{number}")), &jobs).await.unwrap();
    }
    advance(seconds(10)).await;
    assert_nothing_left(&layer);
}

/// Rules 26 and 27: each `group_add` renews the membership.
pub async fn rule_27_adding_again_renews_a_membership<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().group_expiry(seconds(10))).await;
    let (room, jobs, other) = (group("room"), channel("jobs"), channel("other"));
    layer.group_add(&room, &other).await.unwrap();
    for _ in 0..5 {
        layer.group_add(&room, &jobs).await.unwrap();
        advance(seconds(9)).await;
    }
    let delivery = layer.group_send_counted(&room, note(1)).await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped), (1, 0), "the other queue was not renewed");
    assert_holds(&layer, &jobs, &[1]).await;
}

/// Rule 27: expired memberships do not count against the limit of a group.
pub async fn rule_27_expired_members_make_room<S: Server>() {
    pause();
    let (_server, layer) = one::<S>(LayerConfig::new().group_expiry(seconds(10)).group_queues(2)).await;
    let (room, jobs) = (group("room"), channel("jobs"));
    for name in ["gone", "lost"] {
        layer.group_add(&room, &channel(name)).await.unwrap();
    }
    advance(seconds(10)).await;
    layer.group_add(&room, &jobs).await.unwrap();
    assert_eq!(layer.group_send_counted(&room, note(1)).await.unwrap().delivered, 1);
    assert_holds(&layer, &jobs, &[1]).await;
}

/// Rule 27 (mended): a consumer stays a member as long as it lives.
pub async fn rule_27_a_consumers_membership_never_expires<S: Server>() {
    pause();
    let config = LayerConfig::new().expiry(seconds(1)).group_expiry(seconds(10));
    let (_server, layer) = one::<S>(config).await;
    let mut member = Members::new(&layer).of("room").await;
    layer.group_add(&group("hall"), &member.channel()).await.unwrap();
    layer.group_add(&group("room"), &channel("jobs")).await.unwrap();
    for day in 0..30 {
        advance(DAY).await;
        layer.group_send(&group("room"), note(day)).await.unwrap();
        layer.group_send(&group("hall"), note(day)).await.unwrap();
        member.assert_hears(&[day, day]).await;
    }
    member.leave().await;
    assert_nothing_left(&layer);
}
