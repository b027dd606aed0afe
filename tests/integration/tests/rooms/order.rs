//! The order of changes and events, and what a closure may wait for.

use std::{
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use greenroom::{
    Layer, MemoryLayer, Mount, Room, RoomEnd, RoomError, RoomEvents, RoomState, Rooms,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator, advance, pause},
};
use integration_tests::{Client, eventually, log};

use super::{Happened::*, Said, boards, group, memory, said, slow_layer::SlowLayer};

/// Counts its changes.
struct Counter(u32);

impl RoomState for Counter {}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Counted {
    number: u32,
    own: u32,
}

/// Counts up for each message.
struct Counting {
    room: Room<Counter>,
    own: u32,
}

impl Consumer for Counting {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.room.join(ctx).await?;
        ctx.accept()
    }

    async fn receive(&mut self, _: Message, _: &mut Context) -> Result<()> {
        self.own += 1;
        let own = self.own;
        self.room
            .update(|counter, events| {
                counter.0 += 1;
                events.send(Counted { number: counter.0, own });
            })
            .await?;
        Ok(())
    }
}

#[event_handlers]
impl Counting {
    #[relay]
    fn counted(event: &Counted) -> Outgoing {
        Outgoing::text(event.number.to_string())
    }
}

/// More members than an inbox has room for, all of which change the state at once.
#[actix_web::test]
async fn every_member_of_two_threads_sees_all_changes_in_their_order() {
    const MEMBERS: usize = 120;
    const MESSAGES: usize = 3;
    let rooms = Rooms::new(|_: &GroupName| Counter(0));
    let theirs = rooms.clone();
    let routes = UrlRouter::new()
        .route("/", move |_: &Scope| Ok(Counting { room: theirs.room(group("lobby")), own: 0 }));
    let mount = Mount::new(routes).unwrap();
    let server = LiveServer::start(&mount, 2).unwrap();
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(Client::connect(&server, "/").await);
    }
    for member in &mut members {
        for _ in 0..MESSAGES {
            member.feed("count").await;
        }
    }
    for member in &mut members {
        member.flush().await;
    }
    for member in &mut members {
        for expected in 1..=MEMBERS * MESSAGES {
            assert_eq!(member.text().await, expected.to_string());
        }
    }
    assert_eq!(mount.default_layer().metrics().inbox_full, 0);
}

#[actix_web::test]
async fn changes_of_four_threads_and_their_events_agree() {
    const CHANGES: u32 = 500;
    let (layer, rooms) = (memory(), Rooms::new(|_: &GroupName| Counter(0)));
    let room = rooms.open(group("lobby"), &layer).await.unwrap();
    let queue = layer.new_channel().await.unwrap();
    layer.group_add(room.group(), &queue).await.unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (rooms, layer) = (rooms.clone(), layer.clone());
            std::thread::spawn(move || {
                actix_web::rt::System::new().block_on(async move {
                    let room = rooms.open(group("lobby"), &layer).await.unwrap();
                    for own in 1..=CHANGES {
                        let change = |counter: &mut Counter, events: &mut RoomEvents| {
                            counter.0 += 1;
                            events.send(Counted { number: counter.0, own });
                        };
                        room.update(change).await.unwrap();
                    }
                });
            })
        })
        .collect();
    for number in 1..=CHANGES * 4 {
        assert_eq!(layer.receive(&queue).await.unwrap().event::<Counted>().unwrap().number, number);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(room.read(|counter| counter.0).unwrap(), CHANGES * 4);
}

#[actix_web::test]
async fn events_are_sent_in_order_also_if_their_hooks_are_gone() {
    let slow = SlowLayer::new();
    let layer = Layer::new(slow.clone());
    let (rooms, mut happened) = boards();
    let room = rooms.open(group("lobby"), &layer).await.unwrap();
    let queue = layer.new_channel().await.unwrap();
    layer.group_add(room.group(), &queue).await.unwrap();
    let text = async || layer.receive(&queue).await.unwrap().event::<Said>().unwrap().text.clone();
    let first = room.update(|_, events| events.send(said("first")));
    assert!(poll(pin!(first)).is_ready(), "a hook does not wait for the layer");
    room.update(|_, events| events.send(said("second"))).await.unwrap();
    drop(room);
    for expected in [Made, Started, Ended(RoomEnd::Empty, 0), Dropped] {
        assert_eq!(happened.recv().await.unwrap(), expected);
    }
    slow.let_pass(2);
    assert_eq!((text().await, text().await), ("first".to_owned(), "second".to_owned()));
}

#[actix_web::test]
async fn a_hook_that_is_cancelled_before_its_turn_changes_nothing() {
    let layer = Layer::new(SlowLayer::new());
    let room = Rooms::new(|_: &GroupName| Counter(0)).open(group("lobby"), &layer).await.unwrap();
    room.update(|_, events| (0..1_024).for_each(|_| events.send(said("many")))).await.unwrap();
    {
        let mut given_up = pin!(room.update(|counter, _| counter.0 += 1));
        assert!(poll(given_up.as_mut()).is_pending());
    }
    assert_eq!(room.read(|counter| counter.0).unwrap(), 0);
}

#[actix_web::test]
async fn events_that_the_layer_refuses_are_counted_and_logged_once() {
    log::capture();
    let slow = SlowLayer::new();
    let layer = Layer::new(slow.clone());
    let room = Rooms::new(|_: &GroupName| Counter(0)).open(group("refused"), &layer).await.unwrap();
    slow.refuse();
    slow.let_pass(3);
    for _ in 0..3 {
        room.update(|_, events| events.send(said("lost"))).await.unwrap();
    }
    eventually("they are counted", || layer.metrics().room_unsent == 3).await;
    assert_eq!(log::lines(&["room=refused", "the layer does not take"]).len(), 1);
}

#[actix_web::test]
async fn closures_wait_for_a_layer_that_is_behind_and_do_not_run_after_5_s() {
    pause();
    let slow = SlowLayer::new();
    let layer = Layer::new(slow.clone());
    let room = Rooms::new(|_: &GroupName| Counter(0)).open(group("lobby"), &layer).await.unwrap();
    room.update(|_, events| (0..2_000).for_each(|_| events.send(said("many")))).await.unwrap();
    let error = room.update(|counter, _| counter.0 += 1).await.unwrap_err();
    assert!(matches!(error, RoomError::Behind { .. }), "{error}");
    assert_eq!(room.read(|counter| counter.0).unwrap(), 0);
    slow.let_pass(2_000);
    room.update(|counter, _| counter.0 += 1).await.unwrap();
}

/// A tick that did not run, because the layer was behind, is in the next tick's `elapsed`.
#[actix_web::test]
async fn a_tick_that_failed_loses_no_time() {
    pause();
    let period = Duration::from_millis(100);
    let slow = SlowLayer::new();
    let layer = Layer::new(slow.clone());
    let (rooms, mut happened) = super::boards();
    let room = rooms.tick(period).open(group("lobby"), &layer).await.unwrap();
    let start = tokio::time::Instant::now();
    room.update(|_, events| (0..2_000).for_each(|_| events.send(said("many")))).await.unwrap();
    // Two ticks wait for 5 s each, and fail.
    tokio::time::sleep(Duration::from_secs(11)).await;
    slow.let_pass(10_000);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut told = Duration::ZERO;
    while let Ok(what) = happened.try_recv() {
        if let super::Happened::Ticked(elapsed) = what {
            told += elapsed;
        }
    }
    let passed = start.elapsed();
    assert!(passed - told < 2 * period, "{passed:?} have passed, and the state was told {told:?}");
}

/// All closures that waited for the layer run when it is no longer behind, also those that send nothing.
#[actix_web::test]
async fn no_closure_waits_for_a_queue_that_is_empty() {
    pause();
    let slow = SlowLayer::new();
    let layer = Layer::new(slow.clone());
    let (rooms, _happened) = super::boards();
    let room = rooms.open(group("lobby"), &layer).await.unwrap();
    room.update(|_, events| (0..1_024).for_each(|_| events.send(said("many")))).await.unwrap();
    let looks = futures_util::future::join_all((0..1_500).map(|_| room.update(|_, _| ())));
    let opens = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        slow.let_pass(10_000);
    };
    let (looks, ()) = tokio::join!(looks, opens);
    let behind = looks.iter().filter(|look| look.is_err()).count();
    assert_eq!(behind, 0, "these were told that the queue is full, which is empty");
}

#[actix_web::test]
async fn an_event_for_the_others_comes_in_its_place() {
    let (rooms, _happened) = boards();
    let mount = super::mount(&rooms);
    let mut ann = WebsocketCommunicator::new(&mount, "/lobby/ann/");
    let mut bob = WebsocketCommunicator::new(&mount, "/lobby/bob/");
    ann.connect().await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), "ann came");
    bob.connect().await.unwrap();
    ann.send_text("spare:ann");
    for expected in ["bob came", "for all", "for all again"] {
        assert_eq!(ann.receive_text().await.unwrap(), expected);
    }
    for expected in ["bob came", "for all", "for the others", "for all again"] {
        assert_eq!(bob.receive_text().await.unwrap(), expected);
    }
}

#[actix_web::test]
async fn a_tick_waits_for_the_events_of_the_one_before() {
    pause();
    let second = Duration::from_secs(1);
    let slow = SlowLayer::new();
    let layer = Layer::new(slow.clone());
    let (rooms, mut happened) = boards();
    let _room = rooms.tick(second).open(group("lobby"), &layer).await.unwrap();
    for expected in [Made, Started, Ticked(second)] {
        assert_eq!(happened.recv().await.unwrap(), expected);
    }
    advance(second * 3).await;
    assert!(happened.try_recv().is_err(), "the first tick's event waits");
    slow.let_pass(1);
    assert_eq!(happened.recv().await.unwrap(), Ticked(second * 4));
    assert_eq!(layer.metrics().room_ticks_skipped, 3);
}

#[actix_web::test]
async fn a_closure_that_waits_for_a_room_gets_an_error() {
    let rooms = Rooms::new(|_: &GroupName| Counter(0));
    let layer = Layer::from(MemoryLayer::new());
    let room = rooms.open(group("lobby"), &layer).await.unwrap();
    let other = rooms.open(group("other"), &layer).await.unwrap();
    for called in [&room, &other] {
        let refused = RoomError::InsideClosure { room: called.group().clone() };
        let read = room.update(|_, _| called.read(|_| ())).await.unwrap();
        assert_eq!(read, Err(refused.clone()));
        let update = room.read(|_| poll(pin!(called.update(|_, _| ())))).unwrap();
        assert_eq!(update, Poll::Ready(Err(refused)));
    }
    // What a closure only makes is awaited later.
    let later = room.read(|_| room.update(|counter, _| counter.0)).unwrap();
    assert_eq!(later.await, Ok(0));
}

#[actix_web::test]
async fn consumers_on_another_layer_are_refused() {
    let rooms = Rooms::new(|_: &GroupName| Counter(0));
    let _room = rooms.open(group("lobby"), &memory()).await.unwrap();
    let error = rooms.open(group("lobby"), &memory()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(RoomError::OtherLayer { .. })), "{error}");
}

#[actix_web::test]
async fn a_whisper_reaches_one_member_and_a_kick_ends_one() {
    let (rooms, _happened) = boards();
    let mount = super::mount(&rooms);
    let mut clients = Vec::new();
    for name in ["ann", "bob", "cleo"] {
        let mut client = WebsocketCommunicator::new(&mount, &format!("/lobby/{name}/"));
        client.connect().await.unwrap();
        clients.push(client);
    }
    let [ann, bob, cleo] = &mut clients[..] else { unreachable!() };
    ann.send_text("whisper:bob");
    ann.send_text("kick:cleo");
    ann.send_text("done");
    assert_eq!(bob.receive_text().await.unwrap(), "bob came");
    assert_eq!(bob.receive_text().await.unwrap(), "cleo came");
    assert_eq!(bob.receive_text().await.unwrap(), "psst");
    assert_eq!(cleo.receive_text().await.unwrap(), "cleo came");
    let kicked = cleo.receive().await.unwrap_err();
    assert_eq!(kicked.to_string(), r#"the server closed with 4001, "kicked""#);
    for expected in ["ann came", "bob came", "cleo came"] {
        assert_eq!(ann.receive_text().await.unwrap(), expected);
    }
    let rest = [ann.receive_text().await.unwrap(), ann.receive_text().await.unwrap()];
    assert!(
        rest.iter().any(|text| text == "cleo left") && rest.iter().any(|text| text == "done"),
        "{rest:?}"
    );
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}
