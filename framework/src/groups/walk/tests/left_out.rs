//! Members that an event leaves out.

use super::*;

#[actix_web::test]
async fn members_that_are_left_out_get_nothing_in_a_small_group() {
    let world = World::new();
    let members = world.members(5, &["small"]);
    let gone = world.member::<Relay>(&["small"]);
    drop(gone.leave_all());
    gone.gone();
    world.hub.detach(&*gone);
    // This member has the slot of the one that has gone, but not its serial.
    let next = world.member::<Relay>(&["small"]);
    let outside = world.member::<Relay>(&[]);
    assert_eq!(next.key().slot, gone.key().slot);
    assert_eq!(world.send_except(&[&members[0]], "small", "1").await.delivered, 5);
    assert_eq!(world.send_except(&[&members[1], &members[4]], "small", "2").await.delivered, 4);
    assert_eq!(world.send_except(&[&gone, &outside], "small", "3").await.delivered, 6);
    assert_eq!(world.send("small", "4").await.delivered, 6);
    let got: Vec<_> = members.iter().chain([&next]).map(|member| frames(member).concat()).collect();
    assert_eq!(got, ["234", "134", "1234", "1234", "134", "1234"]);
    assert!(frames(&outside).is_empty());
}

#[actix_web::test]
async fn members_that_are_left_out_get_nothing_in_a_walk() {
    let world = World::new();
    let large = group("large");
    let members = world.members(3_000, &["large", "other"]);
    let [first, .., left, again, last] = &members[..] else { unreachable!() };
    let outside = world.member::<Relay>(&["other"]);
    let sends = [
        world.begin("large", "1").await,
        world.begun(world.send_except(&[first, left, again, last, &outside], "large", "2")).await,
        world.begun(world.send_except(&[last], "other", "3")).await,
        world.begin("large", "4").await,
    ];
    world.walk_to(1).await;
    // They leave, and one comes back, while the walk is on its way to them.
    world.hub.leave(&**left, &large);
    world.hub.leave(&**again, &large);
    world.hub.join(Rc::clone(again) as _, &large).unwrap();
    let mut delivered = Vec::new();
    for send in sends {
        let delivery = send.await.unwrap();
        assert_eq!(delivery.dropped, 0);
        delivered.push(delivery.delivered);
    }
    assert_eq!(delivered, [3_000, 2_996, 3_000, 3_000]);
    for (number, member) in members.iter().enumerate() {
        let expected = match number {
            0 | 2_997 | 2_998 => "134",
            2_999 => "14",
            _ => "1234",
        };
        assert_eq!(frames(member).concat(), expected, "member {number}");
    }
    assert_eq!(frames(&outside), ["3"]);

    // Alone, so that the walk goes its short way.
    let delivery = world.send_except(&[first, last], "large", "5").await;
    assert_eq!((delivery.delivered, delivery.dropped), (2_997, 0));
    assert_eq!(world.send("large", "6").await.delivered, 2_999);
    assert_eq!((frames(first).concat(), frames(last).concat()), ("6".to_owned(), "6".to_owned()));
    assert_eq!(frames(&members[1]).concat(), "56");
    assert!(world.hub.slices.walks.borrow().is_empty());
}

#[actix_web::test]
async fn a_suspended_member_that_is_left_out_of_a_walk_loses_nothing_by_it() {
    let world = World::new();
    let relays = world.members(1_500, &["large"]);
    let suspended = world.member::<Handler>(&["large"]);
    suspended.set_busy(true);
    // Its inbox holds three. So it is owed the fourth, and after that comes an event which is not for it.
    let mut sends: Vec<_> = (0..4).map(|_| actix_rt::spawn(world.send("large", "all"))).collect();
    sends.push(actix_rt::spawn(world.send_except(&[&suspended], "large", "others")));
    sends.push(actix_rt::spawn(world.send("large", "all")));
    let mut dropped = Vec::new();
    for send in sends {
        dropped.push(send.await.unwrap().dropped);
    }
    assert_eq!(dropped, [0, 0, 0, 1, 0, 1]);
    assert_eq!(world.directory.counters.read().inbox_full, 2);
    assert!(relays.iter().all(|member| frames(member).len() == 6));
    suspended.set_busy(false);
    let cx = Context::from_waker(Waker::noop());
    suspended.begin_turn(&cx);
    let taken = std::iter::from_fn(|| suspended.poll_next(&cx).is_ready().then_some(())).count();
    assert_eq!(taken, 3);
}
