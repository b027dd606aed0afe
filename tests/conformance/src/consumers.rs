//! Consumers as receivers: by their channel's name, and as members of groups.

use greenroom::{LayerConfig, LayerError, Mount, prelude::*, testing::WebsocketCommunicator};

use crate::{
    Server,
    common::{
        Members, Note, assert_holds, assert_nothing_left, assert_out_of_reach, group, note, on_thread, one,
        queue,
    },
};

/// `test_async_websocket_consumer_specific_channel_layer`: an event for a consumer's channel reaches its handler.
pub async fn a_send_to_a_channel_reaches_its_consumers_handler<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let (mut first, mut second) = (members.alone().await, members.alone().await);
    layer.send(&first.channel(), note(1)).await.unwrap();
    layer.send(&second.channel(), note(2)).await.unwrap();
    layer.send(&first.channel(), note(3)).await.unwrap();
    first.assert_hears(&[1, 3]).await;
    second.assert_hears(&[2]).await;
    first.leave().await;
    second.leave().await;
}

/// Rule 23; `test_send_capacity`, for a consumer: while its hook waits, it takes events up to its capacity.
pub async fn rule_23_a_send_to_a_consumer_with_a_full_inbox_fails<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(3)).await;
    let members = Members::new(&layer);
    let mut member = members.alone().await;
    let name = member.channel();
    member.hold().await;
    for number in 1..=3 {
        layer.send(&name, note(number)).await.unwrap();
    }
    assert_eq!(layer.send(&name, note(4)).await.unwrap_err(), LayerError::ChannelFull(name.clone()));
    assert_eq!(layer.metrics().inbox_full, 1);
    members.release();
    member.assert_hears(&[1, 2, 3]).await;
    layer.send(&name, note(5)).await.unwrap();
    member.assert_hears(&[5]).await;
    member.leave().await;
}

/// Rule 23; `test_group_send_capacity_multiple_channels`, for consumers: only a member in a waiting hook misses events.
pub async fn rule_23_only_a_member_with_a_full_inbox_misses_events<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(2)).await;
    let members = Members::new(&layer);
    let (mut held, mut free) = (members.of("room").await, members.of("room").await);
    held.hold().await;
    let full = u64::from(!S::KEEPS_EVENTS);
    for (number, dropped) in [(1, 0), (2, 0), (3, full), (4, full)] {
        let delivery = layer.group_send_counted(&group("room"), note(number)).await.unwrap();
        assert_eq!((delivery.delivered, delivery.dropped), (2 - dropped, dropped), "note {number}");
        free.assert_hears(&[number]).await;
    }
    assert_eq!(layer.metrics().inbox_full, 2 * full);
    members.release();
    held.assert_hears(if S::KEEPS_EVENTS { &[1, 2, 3, 4] } else { &[1, 2] }).await;
    layer.group_send(&group("room"), note(5)).await.unwrap();
    held.assert_hears(&[5]).await;
    free.assert_hears(&[5]).await;
    held.leave().await;
    free.leave().await;
}

/// Rule 32 (mended): each consumer has its own capacity. The consumers of a process do not share one.
pub async fn rule_32_each_consumer_has_its_own_capacity<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(2)).await;
    let members = Members::new(&layer);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut member = members.alone().await;
        member.hold().await;
        held.push(member);
    }
    for member in &held {
        for number in 1..=2 {
            layer.send(&member.channel(), note(number)).await.unwrap();
        }
    }
    for mut member in held {
        members.release();
        member.assert_hears(&[1, 2]).await;
        member.leave().await;
    }
}

/// A send to a consumer that has ended fails, even if another consumer has taken its place.
pub async fn a_send_to_a_consumer_that_has_ended_fails<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let member = members.alone().await;
    let gone = member.channel();
    member.leave().await;
    let mut other = members.alone().await;
    assert_eq!(layer.send(&gone, note(1)).await, Err(LayerError::NoReceiver));
    assert_eq!(layer.group_add(&group("room"), &gone).await, Err(LayerError::NoReceiver));
    layer.group_discard(&group("room"), &gone).await.unwrap();
    layer.send(&other.channel(), note(2)).await.unwrap();
    other.assert_hears(&[2]).await;
    other.leave().await;
    assert_nothing_left(&layer);
}

/// `test_websocket_consumer_groups`: members get the events of their group. When they have ended, no group is left.
pub async fn consumers_are_members_until_they_end<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let (mut first, mut second, mut other) =
        (members.of("room").await, members.of("room").await, members.of("hall").await);
    assert_eq!(layer.backend().groups().group_count(), 2);
    layer.group_send(&group("room"), note(1)).await.unwrap();
    layer.group_send(&group("hall"), note(2)).await.unwrap();
    first.assert_hears(&[1]).await;
    second.assert_hears(&[1]).await;
    other.assert_hears(&[2]).await;

    first.leave().await;
    // This client leaves without a close frame.
    second.0.abort().await;
    let delivery = layer.group_send_counted(&group("room"), note(3)).await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped), (0, 0));
    other.leave().await;
    assert_nothing_left(&layer);
}

/// Rule 28: whoever knows a consumer's channel can add it to a group and remove it. Adding twice counts once (rule 26).
pub async fn rule_28_a_consumer_can_be_added_to_a_group_by_its_channel<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let mut member = Members::new(&layer).alone().await;
    let (room, name) = (group("room"), member.channel());
    layer.group_discard(&room, &name).await.unwrap();
    layer.group_add(&room, &name).await.unwrap();
    layer.group_add(&room, &name).await.unwrap();
    let delivery = layer.group_send_counted(&room, note(1)).await.unwrap();
    assert_eq!(delivery.delivered, 1);
    layer.group_discard(&room, &name).await.unwrap();
    let delivery = layer.group_send_counted(&room, note(2)).await.unwrap();
    assert_eq!(delivery.delivered, 0);
    layer.group_add(&room, &name).await.unwrap();
    layer.group_send(&room, note(3)).await.unwrap();
    member.assert_hears(&[1, 3]).await;
    member.leave().await;
    assert_nothing_left(&layer);
}

/// A group can have queues and consumers as members.
pub async fn queues_and_consumers_share_a_group<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, jobs) = (group("room"), queue::<S>(&layer, "jobs").await);
    let mut member = Members::new(&layer).of("room").await;
    layer.group_add(&room, &jobs).await.unwrap();
    let delivery = layer.group_send_counted(&room, note(1)).await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped), (2, 0));
    member.assert_hears(&[1]).await;
    member.leave().await;
    let delivery = layer.group_send_counted(&room, note(2)).await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped), (1, 0));
    assert_holds(&layer, &jobs, &[1, 2]).await;
}

/// Events arrive in the order in which one sender sent them: to the consumer or to its groups, from any thread.
pub async fn events_of_one_sender_keep_their_order<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let mut member = Members::new(&layer).of("room").await;
    layer.group_add(&group("hall"), &member.channel()).await.unwrap();
    let name = member.channel();
    for number in (0..30).step_by(3) {
        layer.send(&name, note(number)).await.unwrap();
        layer.group_send(&group("room"), note(number + 1)).await.unwrap();
        layer.group_send(&group("hall"), note(number + 2)).await.unwrap();
    }
    let sender = on_thread({
        let (layer, name) = (layer.clone(), name.clone());
        move || {
            for number in (30..60).step_by(3) {
                layer.group_send_blocking(&group("hall"), note(number)).unwrap();
                layer.send_blocking(&name, note(number + 1)).unwrap();
                layer.group_send_blocking(&group("room"), note(number + 2)).unwrap();
            }
        }
    });
    sender.await;
    member.assert_hears(&(0..60).collect::<Vec<_>>()).await;
    member.leave().await;
}

/// A burst has far more events than an inbox holds. Members that can run miss none, because the sender waits for them.
pub async fn running_members_lose_nothing_in_a_burst<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(10)).await;
    let members = Members::new(&layer);
    let mut clients = [members.of("room").await, members.of("room").await, members.of("room").await];
    for number in 0..1_000 {
        layer.group_send(&group("room"), note(number)).await.unwrap();
    }
    for client in &mut clients {
        client.assert_hears(&(0..1_000).collect::<Vec<_>>()).await;
    }
    assert_eq!(layer.metrics().inbox_full, 0);
    for client in clients {
        client.leave().await;
    }
}

/// A member that passes events on without handling them.
#[derive(Debug)]
struct Relay;

impl Consumer for Relay {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("room")]
    }
}

#[event_handlers]
impl Relay {
    #[relay]
    fn note(note: &Note) -> Outgoing {
        Outgoing::text(format!("relayed {}", note.number))
    }
}

/// A group can have queues and consumers of several types. A relay runs once for each event.
pub async fn members_of_all_types_share_a_group<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let (room, jobs) = (group("room"), queue::<S>(&layer, "jobs").await);
    layer.group_add(&room, &jobs).await.unwrap();
    let mut handler = Members::new(&layer).of("room").await;
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Relay))).unwrap().layer(layer.clone());
    let mut relays = [WebsocketCommunicator::new(&mount, "/"), WebsocketCommunicator::new(&mount, "/")];
    for relay in &mut relays {
        relay.connect().await.unwrap();
    }
    for number in 1..=3 {
        let delivery = layer.group_send_counted(&room, note(number)).await.unwrap();
        assert_eq!((delivery.delivered, delivery.dropped), (4, 0));
    }
    assert_eq!(layer.metrics().encoded, 3, "each event is encoded once");
    handler.assert_hears(&[1, 2, 3]).await;
    for mut relay in relays {
        for number in 1..=3 {
            assert_eq!(relay.receive_text().await.unwrap(), format!("relayed {number}"));
        }
        relay.disconnect().await;
    }
    assert_holds(&layer, &jobs, &[1, 2, 3]).await;
    handler.leave().await;
}

/// A consumer of the layer with the alias `second`.
#[derive(Debug)]
struct OnSecond;

impl Consumer for OnSecond {
    const LAYER: &'static str = "second";

    fn groups(&self) -> Vec<GroupName> {
        vec![group("room")]
    }
}

#[event_handlers]
impl OnSecond {
    async fn note(&mut self, note: &Note, ctx: &mut Context) -> Result<()> {
        ctx.send_text(note.number.to_string())
    }
}

/// `test_async_websocket_consumer_specific_channel_layer`: a consumer hears only the layer of its alias.
pub async fn a_consumer_uses_only_the_layer_of_its_alias<S: Server>() {
    let (_server, first) = one::<S>(LayerConfig::new()).await;
    let (_second_server, second) = one::<S>(LayerConfig::new()).await;
    let routes = UrlRouter::new().route("/", |_: &Scope| Ok(OnSecond));
    let mount = Mount::new(routes).unwrap().layer(first.clone()).layer_as("second", second.clone());
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    let name = client.channel_name().unwrap();
    assert_out_of_reach::<S>(&first, &name).await;
    assert_eq!(first.group_send_counted(&group("room"), note(2)).await.unwrap().delivered, 0);
    second.send(&name, note(3)).await.unwrap();
    second.group_send(&group("room"), note(4)).await.unwrap();
    assert_eq!(client.receive_text().await.unwrap(), "3");
    assert_eq!(client.receive_text().await.unwrap(), "4");
    client.disconnect().await;
    assert_nothing_left(&second);
}
