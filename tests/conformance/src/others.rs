//! Sends to a group that leave some channels out: the sender itself, or any others.

use greenroom::LayerConfig;
use integration_tests::PATIENCE;
use tokio::time::timeout;

use crate::{
    Server,
    common::{
        Client, Members, assert_holds, assert_nothing_left, channel, group, next_note, note, on_thread, one,
        queue,
    },
    processes::two,
};

/// Has a member send a note to all others, and returns how many got it.
async fn sends_to_others(sender: &mut Client, number: u64) -> String {
    sender.0.send_text(format!("others {number}"));
    sender.hears().await.expect("the send returns")
}

/// All members but the sender hear what it sends to others. A sender that is no member leaves out nobody.
pub async fn a_sender_is_left_out<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let (mut first, mut second, mut third) =
        (members.of("room").await, members.of("room").await, members.of("room").await);
    let mut outside = members.alone().await;
    assert_eq!(sends_to_others(&mut first, 1).await, "2 got it, 0 missed it");
    second.assert_hears(&[1]).await;
    assert_eq!(sends_to_others(&mut second, 2).await, "2 got it, 0 missed it");
    assert_eq!(sends_to_others(&mut outside, 3).await, "3 got it, 0 missed it");
    first.assert_hears(&[2, 3]).await;
    second.assert_hears(&[3]).await;
    third.assert_hears(&[1, 2, 3]).await;
    // A sender that has left leaves out nobody, and one that has come back is left out again.
    layer.group_discard(&group("room"), &first.channel()).await.unwrap();
    assert_eq!(sends_to_others(&mut first, 4).await, "2 got it, 0 missed it");
    layer.group_add(&group("room"), &first.channel()).await.unwrap();
    assert_eq!(sends_to_others(&mut first, 5).await, "2 got it, 0 missed it");
    layer.group_send(&group("room"), note(6)).await.unwrap();
    first.assert_hears(&[6]).await;
    for other in [&mut second, &mut third] {
        other.assert_hears(&[4, 5, 6]).await;
    }
    for client in [first, second, third, outside] {
        client.leave().await;
    }
    assert_nothing_left(&layer);
}

/// Consumers and queues are left out alike: one, several, or none. Channels that are no members do not matter.
pub async fn channels_are_left_out<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let room = group("room");
    let (mut first, mut second) = (members.of("room").await, members.of("room").await);
    let (jobs, local) = (queue::<S>(&layer, "jobs").await, layer.new_channel().await.unwrap());
    for channel in [&jobs, &local] {
        layer.group_add(&room, channel).await.unwrap();
    }
    let (one, two) = (first.channel(), second.channel());
    let stranger = channel("specific.another12345!1.0.1");
    let counted = layer.group_send_except_counted(&room, &one, note(1)).await.unwrap();
    assert_eq!((counted.delivered, counted.dropped), (3, 0));
    let counted = layer.group_send_except_counted(&room, &jobs, note(2)).await.unwrap();
    assert_eq!((counted.delivered, counted.dropped), (3, 0));
    let counted = layer.group_send_except_counted(&room, [two, local.clone()], note(3)).await.unwrap();
    assert_eq!((counted.delivered, counted.dropped), (2, 0));
    let counted = layer.group_send_except_counted(&room, [], note(4)).await.unwrap();
    assert_eq!((counted.delivered, counted.dropped), (4, 0));
    layer.group_send_except(&room, [stranger, channel("nobody")], note(5)).await.unwrap();
    first.assert_hears(&[2, 3, 4, 5]).await;
    second.assert_hears(&[1, 2, 4, 5]).await;
    assert_holds(&layer, &jobs, &[1, 3, 4, 5]).await;
    assert_holds(&layer, &local, &[1, 2, 4, 5]).await;
    first.leave().await;
    second.leave().await;
}

/// The channel of a consumer that has ended leaves out nobody, even if another consumer has taken its place.
pub async fn a_channel_that_has_ended_leaves_out_nobody<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let member = members.of("room").await;
    let gone = member.channel();
    member.leave().await;
    let mut next = members.of("room").await;
    let counted = layer.group_send_except_counted(&group("room"), &gone, note(1)).await.unwrap();
    assert_eq!((counted.delivered, counted.dropped), (1, 0));
    next.assert_hears(&[1]).await;
    next.leave().await;
}

/// Sends to others keep their place among the other sends of one sender. That holds for a thread without consumers too.
pub async fn sends_to_others_keep_their_order<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let members = Members::new(&layer);
    let (mut one, mut other) = (members.of("room").await, members.of("room").await);
    let name = one.channel();
    let send = async move |first: u64| {
        for number in (first..first + 30).step_by(3) {
            layer.group_send(&group("room"), note(number)).await.unwrap();
            layer.group_send_except(&group("room"), &name, note(number + 1)).await.unwrap();
            layer.send(&name, note(number + 2)).await.unwrap();
        }
    };
    send(0).await;
    on_thread(move || actix_web::rt::System::new().block_on(send(30))).await;
    let numbers = |wanted: fn(&u64) -> bool| (0..60).filter(wanted).collect::<Vec<_>>();
    one.assert_hears(&numbers(|number| number % 3 != 1)).await;
    other.assert_hears(&numbers(|number| number % 3 != 2)).await;
    one.leave().await;
    other.leave().await;
}

/// A member with a full inbox that is left out misses nothing, and nobody waits for it.
pub async fn a_full_member_that_is_left_out_misses_nothing<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new().capacity(2)).await;
    let members = Members::new(&layer);
    let (mut held, mut free) = (members.of("room").await, members.of("room").await);
    held.hold().await;
    for number in [1, 2] {
        layer.group_send(&group("room"), note(number)).await.unwrap();
    }
    let counted = layer.group_send_except_counted(&group("room"), held.channel(), note(3)).await.unwrap();
    assert_eq!((counted.delivered, counted.dropped), (1, 0));
    assert_eq!(layer.metrics().inbox_full, 0);
    members.release();
    held.assert_hears(&[1, 2]).await;
    free.assert_hears(&[1, 2, 3]).await;
    held.leave().await;
    free.leave().await;
}

/// A consumer or a queue is left out in its own process, whichever process sends.
pub async fn a_channel_of_another_process_is_left_out<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let room = group("room");
    let (here, there) = (Members::new(&first), Members::new(&second));
    let (mut here, mut there, mut beside) =
        (here.of("room").await, there.of("room").await, there.of("room").await);
    let local = second.new_channel().await.unwrap();
    second.group_add(&room, &local).await.unwrap();

    sends_to_others(&mut here, 1).await;
    first.group_send_except(&room, there.channel(), note(2)).await.unwrap();
    first.group_send_except(&room, [beside.channel(), local.clone()], note(3)).await.unwrap();
    let all = [here.channel(), there.channel(), beside.channel(), local.clone()];
    first.group_send_except(&room, all, note(4)).await.unwrap();
    first.group_send(&room, note(5)).await.unwrap();
    here.assert_hears(&[2, 3, 5]).await;
    there.assert_hears(&[1, 3, 5]).await;
    beside.assert_hears(&[1, 2, 5]).await;
    for number in [1, 2, 5] {
        let received = timeout(PATIENCE, next_note(&second, &local)).await.expect("in time");
        assert_eq!(received, number);
    }
    // The same from the other side, now for a member of the first process.
    second.group_send_except(&room, here.channel(), note(6)).await.unwrap();
    second.group_send(&room, note(7)).await.unwrap();
    here.assert_hears(&[7]).await;
    there.assert_hears(&[6, 7]).await;
    beside.assert_hears(&[6, 7]).await;
    assert_holds(&second, &local, &[6, 7]).await;
    for client in [here, there, beside] {
        client.leave().await;
    }
}

/// A sender is not in the count, and the members in other processes are counted as by a send to all.
pub async fn a_count_over_processes_leaves_out_the_sender<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let mut here = Members::new(&first).of("room").await;
    let mut there = Members::new(&second).of("room").await;
    let all = first.group_send_counted(&group("room"), note(1)).await.unwrap();
    let others = first.group_send_except_counted(&group("room"), here.channel(), note(2)).await.unwrap();
    assert_eq!((others.delivered, others.dropped), (all.delivered - 1, all.dropped));
    here.assert_hears(&[1]).await;
    there.assert_hears(&[1, 2]).await;
    here.leave().await;
    there.leave().await;
}

/// A plain channel is left out by every process, as the server has it in the group.
pub async fn a_plain_channel_is_left_out_by_every_process<S: Server>() {
    let (_server, first, second) = two::<S>().await;
    let (room, jobs, works) = (group("room"), channel("jobs"), channel("works"));
    for channel in [&jobs, &works] {
        first.group_add(&room, channel).await.unwrap();
    }
    for (number, layer) in [(1, &first), (2, &second)] {
        let counted = layer.group_send_except_counted(&room, &jobs, note(number)).await.unwrap();
        assert_eq!(counted.delivered, 1);
    }
    assert_holds(&second, &jobs, &[]).await;
    assert_holds(&first, &works, &[1, 2]).await;
}
