mod left_out;

use std::{
    cell::Cell,
    future::Future,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, yield_now},
};

use super::*;
use crate::{
    ChannelName, Drain, Envelope, Event, EventHandlers, GroupName, LayerConfig, Limits, Outgoing,
    close::{Cause, CloseCode},
    consumer::{
        connection::{Accepted, Connection, Next, RequestAnswer},
        start::class_of,
    },
    groups::{
        Delivery,
        budget::{Budget, Ledger},
        directory::Directory,
        fan_out::{Class, Form},
        history::{log::Log, lost::LostReason, position::Position},
        key::Key,
        member::{Memberships, Taken},
        thread,
    },
    wire::{Packet, Wire},
};

#[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
struct Said {
    text: String,
}

/// Members whose relay makes the message.
struct Relay;

#[crate::event_handlers]
impl Relay {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

/// Members that get the event itself, for their handler.
struct Handler;

#[crate::event_handlers]
impl Handler {
    async fn said(&mut self, _: &Said, _: &mut crate::Context) -> crate::Result<()> {
        Ok(())
    }
}

/// One thread's part of a layer, with members that have no client.
struct World {
    directory: Arc<Directory>,
    hub: Rc<Hub>,
    drain: Drain,
    budget: Arc<Budget>,
}

impl World {
    fn new() -> Self {
        let directory = Directory::new(LayerConfig::new().capacity(3));
        Self {
            hub: thread::of_thread(&directory),
            directory,
            drain: Drain::new(),
            budget: Budget::new(Budget::DEFAULT),
        }
    }

    /// A member of some groups, accepted and idle.
    fn member<C: EventHandlers>(&self, groups: &[&str]) -> Rc<Connection> {
        let guard = self.drain.reserve(usize::MAX).unwrap().enter(self.hub.queue()).unwrap();
        let (sender, answer) = oneshot::channel();
        let limits = Arc::new(Limits::new());
        let class = class_of::<C, crate::Context>(Wire::WebSocket(None));
        let connection = Connection::new(&self.hub, class, limits, &self.budget, guard, sender, None);
        connection.answer(RequestAnswer::Accept(Accepted::default()));
        drop(answer);
        connection.set_busy(false);
        for name in groups {
            self.hub.join(Rc::clone(&connection) as _, &group(name)).unwrap();
        }
        connection
    }

    fn members(&self, count: usize, groups: &[&str]) -> Vec<Rc<Connection>> {
        (0..count).map(|_| self.member::<Relay>(groups)).collect()
    }

    /// The future of a send, which a sender awaits.
    fn send(&self, name: &str, text: &str) -> impl Future<Output = Delivery> + use<> {
        let (directory, group) = (Arc::clone(&self.directory), group(name));
        let envelope = Envelope::new(Said { text: text.to_owned() });
        async move { directory.publish(&group, &[], envelope, true).await }
    }

    /// The same, to all but some.
    fn send_except(
        &self,
        except: &[&Rc<Connection>],
        name: &str,
        text: &str,
    ) -> impl Future<Output = Delivery> + use<> {
        let (directory, group) = (Arc::clone(&self.directory), group(name));
        let envelope = Envelope::new(Said { text: text.to_owned() });
        let except: Vec<_> = except.iter().map(|member| member.channel_name()).collect();
        async move { directory.publish(&group, &except, envelope, true).await }
    }

    /// Begins a send as its own task, and returns when it waits for the walk.
    async fn begin(&self, name: &str, text: &str) -> JoinHandle<Delivery> {
        self.begun(self.send(name, text)).await
    }

    async fn begun(&self, send: impl Future<Output = Delivery> + 'static) -> JoinHandle<Delivery> {
        let last = self.hub.slices.last();
        let sending = actix_rt::spawn(send);
        while self.hub.slices.last() == last {
            yield_now().await;
        }
        sending
    }

    /// How many deliveries the first send has so far, until it is done.
    fn walked(&self) -> Option<u64> {
        self.hub.slices.progress().0
    }

    /// Lets the walk go on until it has made so many deliveries.
    async fn walk_to(&self, deliveries: u64) {
        while self.walked().expect("the walk goes on") < deliveries {
            yield_now().await;
        }
    }
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// Takes the frames that wait for a client: short texts, or the code of a close.
fn frames(connection: &Connection) -> Vec<String> {
    let cx = Context::from_waker(Waker::noop());
    let mut texts = Vec::new();
    while let Poll::Ready(Some(frame)) = connection.poll_outbox(&cx) {
        texts.push(match frame[0] {
            0x81 => String::from_utf8(frame[2..].to_vec()).unwrap(),
            _ => "close".to_owned(),
        });
    }
    texts
}

fn frame(text: &str) -> Bytes {
    Wire::WebSocket(None).encode_plain(&Outgoing::text(text.to_owned()))
}

#[actix_web::test]
async fn every_member_gets_every_event_once_and_in_order() {
    let world = World::new();
    let members = world.members(5_000, &["large"]);
    let sends = [world.send("large", "1"), world.send("large", "2"), world.send("large", "3")];
    for delivery in futures_util::future::join_all(sends).await {
        assert_eq!((delivery.delivered, delivery.dropped), (5_000, 0));
    }
    for member in &members {
        assert_eq!(frames(member), ["1", "2", "3"]);
    }
    assert!(!world.hub.slices.has_pending());
    assert!(world.hub.slices.walks.borrow().is_empty());
}

#[actix_web::test]
async fn joining_leaving_and_closing_during_a_walk_are_exact() {
    let world = World::new();
    let large = group("large");
    let members = world.members(5_000, &["large"]);
    let sending = world.begin("large", "1").await;
    world.walk_to(1).await;
    let [served, back, .., left, closed, gone, again] = &members[..] else { unreachable!() };
    // `back` and `served` have the event already. `back` leaves and joins again.
    assert_eq!(frames(served), ["1"]);
    world.hub.leave(&**back, &large);
    world.hub.join(Rc::clone(back) as _, &large).unwrap();
    // The others do not have it yet.
    assert!([left, closed, gone, again].iter().all(|member| frames(member).is_empty()));
    world.hub.leave(&**left, &large);
    assert_eq!(frames(left), ["1"], "it gets what was sent before it left");
    closed.end(Cause::Consumer, CloseCode::NORMAL, "");
    assert_eq!(frames(closed), ["1", "close"]);
    drop(gone.leave_all());
    gone.gone();
    world.hub.leave(&**again, &large);
    world.hub.join(Rc::clone(again) as _, &large).unwrap();
    // Newcomers: some of this class, which stand behind the walk, and one of another class.
    let newcomers = world.members(3, &["large"]);
    let handler = world.member::<Handler>(&["large"]);

    let delivery = sending.await.unwrap();
    assert_eq!((delivery.delivered, delivery.dropped), (4_999, 0), "all members but the one that has gone");
    assert_eq!(frames(back), ["1"]);
    assert_eq!(frames(again), ["1"]);
    assert!(frames(left).is_empty() && newcomers.iter().all(|member| frames(member).is_empty()));
    let delivery = world.send("large", "2").await;
    assert_eq!((delivery.delivered, delivery.dropped), (5_001, 1), "the member that closed refuses");
    for member in newcomers.iter().chain([back, again]) {
        assert_eq!(frames(member), ["2"]);
    }
    assert!(matches!(handler.poll_next(&Context::from_waker(Waker::noop())), Poll::Ready(Next::Mail(_))));
    assert!(handler.poll_next(&Context::from_waker(Waker::noop())).is_pending());
}

#[actix_web::test]
async fn a_group_that_empties_and_fills_again_during_a_walk_gets_nothing() {
    let world = World::new();
    let members = world.members(2_000, &["large"]);
    let sending = world.begin("large", "1").await;
    world.walk_to(1).await;
    for member in &members {
        world.hub.leave(&**member, &group("large"));
    }
    assert_eq!(world.directory.group_count(), 0);
    let newcomers = world.members(2_000, &["large"]);
    assert_eq!(sending.await.unwrap().delivered, 2_000);
    assert!(members.iter().all(|member| frames(member) == ["1"]));
    assert!(newcomers.iter().all(|member| frames(member).is_empty()));
}

#[actix_web::test]
async fn groups_direct_sends_and_events_interleave_as_they_were_called() {
    let world = World::new();
    let members = world.members(2_000, &["a", "b", "some"]);
    for member in &members[500..] {
        world.hub.leave(&**member, &group("some"));
    }
    let mut sends = Vec::new();
    for round in 0..3 {
        sends.push(world.begin("a", &format!("a{round}")).await);
        for member in &members {
            member.write(frame(&format!("d{round}"))).unwrap();
        }
        sends.push(world.begin("b", &format!("b{round}")).await);
        let small = world.send("some", &format!("s{round}")).now_or_never();
        assert_eq!(small.expect("a small group need not wait").delivered, 500);
    }
    for send in sends {
        assert_eq!(send.await.unwrap().delivered, 2_000);
    }
    for (number, member) in members.iter().enumerate() {
        let mut expected = vec!["a0", "d0", "b0", "s0", "a1", "d1", "b1", "s1", "a2", "d2", "b2", "s2"];
        expected.retain(|text| number < 500 || !text.starts_with('s'));
        assert_eq!(frames(member), expected);
    }
}

#[actix_web::test]
async fn if_a_sender_gives_up_all_members_get_the_event_and_nothing_piles_up() {
    let world = World::new();
    let members = world.members(2_000, &["large"]);
    assert!(world.send("large", "1").now_or_never().is_none());
    while world.hub.slices.has_pending() {
        yield_now().await;
    }
    assert!(members.iter().all(|member| frames(member) == ["1"]));

    let megabyte = "x".repeat(1 << 20);
    for _ in 0..100 {
        assert!(world.send("large", &megabyte).now_or_never().is_none());
    }
    let held = world.hub.slices.progress().1;
    assert!(held <= 7, "{held} megabytes are held for a queue of 8 MiB");
}

#[actix_web::test]
async fn messages_of_others_leave_between_two_slices() {
    let world = World::new();
    let mut large = world.members(10_000, &["large"]);
    let member = world.member::<Relay>(&["small"]);
    large.extend(world.members(10_000, &["large", "other"]));
    let world = Rc::new(world);
    // The writer of a member of the small group notes how far the walk is.
    let writer = actix_rt::spawn({
        let world = Rc::clone(&world);
        async move {
            let mut seen = Vec::new();
            while let Some(_frame) = poll_fn(|cx| member.poll_outbox(cx)).await {
                seen.extend(world.walked());
                if world.walked().is_none() {
                    break;
                }
            }
            seen
        }
    });
    let walks = [world.begin("large", "1").await, world.begin("other", "2").await];
    let mut sent = Vec::new();
    while let Some(walked) = world.walked() {
        sent.push(walked);
        assert_eq!(world.send("small", "s").now_or_never().expect("at once").delivered, 1);
        yield_now().await;
    }
    world.send("small", "last").await;
    let seen = writer.await.unwrap();
    assert!(sent.len() >= 30_000 / SLICE, "{} sends got between", sent.len());
    assert!(sent.windows(2).all(|pair| pair[1] - pair[0] <= 2 * SLICE as u64), "{sent:?}");
    for (sent, seen) in sent.iter().zip(&seen) {
        assert!(seen - sent <= 2 * SLICE as u64, "sent after {sent} deliveries, written after {seen}");
    }
    for walk in walks {
        assert!(walk.await.unwrap().delivered >= 10_000);
    }
}

#[actix_web::test]
async fn a_running_member_loses_nothing_and_a_suspended_one_delays_nobody() {
    const EVENTS: usize = 10;
    let world = World::new();
    let relays = world.members(1_500, &["large"]);
    let suspended = world.member::<Handler>(&["large"]);
    suspended.set_busy(true);
    // This member takes one event in each pass. Its inbox holds three.
    let running = world.member::<Handler>(&["large"]);
    let taking = actix_rt::spawn({
        let running = Rc::clone(&running);
        async move {
            let mut taken = 0;
            while taken < EVENTS {
                taken += poll_fn(|cx| {
                    running.begin_turn(cx);
                    Poll::Ready(usize::from(running.poll_next(cx).is_ready()))
                })
                .await;
                yield_pass().await;
            }
        }
    });
    let sends: Vec<_> = (0..EVENTS).map(|number| world.send("large", &number.to_string())).collect();
    let dropped: u64 =
        futures_util::future::join_all(sends).await.iter().map(|delivery| delivery.dropped).sum();
    taking.await.unwrap();
    assert_eq!(dropped, EVENTS as u64 - 3, "only the suspended member loses events: its inbox holds three");
    assert_eq!(world.directory.counters.read().inbox_full, EVENTS as u64 - 3);
    assert!(relays.iter().all(|member| frames(member).len() == EVENTS));
}

/// A member that counts how often something is relayed to it.
struct Counted {
    key: Key,
    class: Class,
    memberships: Memberships,
    visits: Rc<Cell<usize>>,
}

impl Member for Counted {
    fn key(&self) -> Key {
        self.key
    }

    fn class(&self) -> &Class {
        &self.class
    }

    fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    fn max_groups(&self) -> usize {
        1
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn drain_id(&self) -> u64 {
        0
    }

    fn relay(&self, _: Packet) -> bool {
        self.visits.set(self.visits.get() + 1);
        true
    }

    fn take_event(&self, _: Envelope) -> bool {
        unreachable!("its class has a relay")
    }

    fn is_full(&self) -> bool {
        false
    }

    fn may_make_room(&self, _: u64) -> bool {
        false
    }

    fn note_sending(&self, _: isize) {}

    fn is_told_places(&self) -> bool {
        false
    }

    fn is_left_out(&self, _: &[ChannelName]) -> bool {
        false
    }

    fn was_one_of(&self, _: &[ChannelName]) -> bool {
        false
    }

    fn take_logged(&self, _: &Form, _: &Envelope, _: u32, _: Position) -> Taken {
        unreachable!("its group has no log")
    }

    fn take_foreign(&self, _: Envelope, _: u32, _: f64) -> bool {
        unreachable!("its group has no log")
    }

    fn introduce(&self, _: &Arc<Log>) {}

    fn supersede(&self) {}

    fn note_lost(&self, _: &Arc<Log>, _: LostReason, _: Position) {}

    fn flush(&self) {}

    fn look_due(&self) {}

    fn held_of(&self, _: &Ledger) -> usize {
        0
    }

    fn give_way(&self) {}

    fn shut_down(&self) {}
}

#[actix_web::test]
async fn a_room_that_was_large_costs_what_its_members_cost() {
    let world = World::new();
    let visits = Rc::new(Cell::new(0));
    let room = group("room");
    let members: Vec<_> = (0..20_000)
        .map(|_| {
            world.hub.attach(|key| {
                let class = class_of::<Relay, crate::Context>(Wire::WebSocket(None));
                Rc::new(Counted {
                    key,
                    class,
                    memberships: Memberships::default(),
                    visits: Rc::clone(&visits),
                })
            })
        })
        .collect();
    for member in &members {
        world.hub.join(Rc::clone(member) as _, &room).unwrap();
    }
    // All but 50 leave, in an order that mixes the places.
    let (leaving, staying): (Vec<_>, Vec<_>) =
        members.iter().enumerate().partition(|(number, _)| number % 400 != 7);
    for (_, member) in leaving.iter().rev().step_by(2).chain(leaving.iter().rev().skip(1).step_by(2)) {
        world.hub.leave(&***member, &room);
    }
    let (places, memory) = world.hub.places_of(&room);
    assert_eq!((staying.len(), places), (50, 50), "the list has no gaps that a send would walk over");
    assert!(memory <= 4 * 50, "its memory is given back: it has room for {memory}");
    assert_eq!(world.send("room", "1").await.delivered, 50);
    assert_eq!(visits.get(), 50);
    // Each remaining member is still found at its place.
    for (_, member) in &staying {
        world.hub.leave(&***member, &room);
    }
    assert_eq!(world.directory.group_count(), 0);
}
