//! Logs on a server that is slow, away, or has lost entries: who is told what.

use std::{
    collections::HashMap,
    future::Future,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::{sync::oneshot, task::yield_now};

use super::*;
use crate::{
    Drain, Event, LayerConfig, Limits,
    consumer::{
        connection::{Accepted, Connection, Next, RequestAnswer},
        start::class_of,
    },
    event::Format,
    groups::{
        budget::Budget,
        history::{fake::FakeServer, position::Tag, store::Arrival},
        hub::Hub,
        inbox::Mail,
        member::Member,
        thread,
    },
    history::{History, Outcome, Since},
    wire::Wire,
};

#[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
struct Said {
    number: u64,
}

struct Reader;

#[crate::event_handlers]
impl Reader {
    async fn said(&mut self, _: &Said, _: &mut crate::Context) -> crate::Result<()> {
        Ok(())
    }
}

/// A process with one thread, and the server that keeps the log of its group `room`.
struct World {
    server: Arc<FakeServer>,
    directory: Arc<Directory>,
    hub: Rc<Hub>,
    budget: Arc<Budget>,
    /// The place before each entry that the server has ever had.
    before: HashMap<(u64, u64, Tag), Position>,
    appended: u64,
}

/// A client, and what it has got.
struct Client {
    connection: Rc<Connection>,
    /// Behind what it has got, if nothing may be missing.
    expected: Option<Position>,
    last: Option<Position>,
    lost: usize,
}

impl World {
    fn new(size: usize) -> Self {
        let directory =
            Directory::new(LayerConfig::new().capacity(10_000).history("room", History::last(size)));
        let server = FakeServer::new(size);
        directory.logs.keep_in(Arc::clone(&server) as _);
        Self {
            hub: thread::of_thread(&directory),
            server,
            directory,
            budget: Budget::new(Budget::DEFAULT),
            before: HashMap::new(),
            appended: 0,
        }
    }

    fn log(&self) -> Arc<Log> {
        self.directory.logs.of(&self.directory.config, &room()).unwrap()
    }

    /// Another process adds an entry. What the fan-out brings is returned.
    fn append(&mut self) -> Arrival {
        self.appended += 1;
        let envelope = Envelope::new(Said { number: self.appended });
        let before = self.server.top();
        let arrival = self.server.append(envelope.to_wire(Format::MsgPack).unwrap());
        self.before.insert((arrival.epoch.get(), arrival.entry.offset, arrival.entry.tag), before);
        arrival
    }

    async fn arrive(&self, arrival: Arrival) {
        self.directory.arrive(&room(), arrival).await;
    }

    async fn send(&mut self) {
        let arrival = self.append();
        self.arrive(arrival).await;
    }

    /// An accepted and idle connection.
    fn connection(&self) -> Rc<Connection> {
        let guard = Drain::new().reserve(1).unwrap().enter(self.hub.queue()).unwrap();
        let (sender, answer) = oneshot::channel();
        let class = class_of::<Reader, crate::Context>(Wire::WebSocket(None));
        let limits = Arc::new(Limits::new());
        let connection = Connection::new(&self.hub, class, limits, &self.budget, guard, sender, None);
        connection.answer(RequestAnswer::Accept(Accepted::default()));
        drop(answer);
        connection.set_busy(false);
        connection
    }

    async fn client(&self, since: Since) -> (Client, Outcome) {
        let connection = self.connection();
        let held = since != Since::Now;
        let log = self.hub.join_held(Rc::clone(&connection) as _, &room(), held).unwrap().unwrap();
        let outcome = connection.begin(&log, since).await;
        let expected = match (since, outcome) {
            (Since::Position(place), Outcome::Recovered) => Some(place),
            _ => None,
        };
        (Client { connection, expected, last: None, lost: 0 }, outcome)
    }

    /// Takes what a client has got. Nothing is missing in it without a word, and nothing comes twice.
    fn read(&self, client: &mut Client) {
        let cx = Context::from_waker(Waker::noop());
        loop {
            client.connection.begin_turn(&cx);
            let Poll::Ready(Next::Mail(mail)) = client.connection.poll_next(&cx) else { return };
            match mail {
                Mail::Lost(..) => (client.expected, client.lost) = (None, client.lost + 1),
                Mail::Logged(_, _, place) => {
                    let before = self.before[&(place.epoch.get(), place.offset, place.tag)];
                    if let Some(expected) = client.expected {
                        assert_eq!(before, expected, "{place} came behind {expected}");
                    }
                    if let Some(last) = client.last.filter(|last| last.epoch == place.epoch) {
                        assert!(place.offset > last.offset, "{place} came after {last}");
                    }
                    (client.expected, client.last) = (Some(place), Some(place));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// Numbers that look random, and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Whatever the server loses, and in whatever order the fan-out brings entries, no client misses one unless it is told.
#[actix_web::test]
async fn no_client_is_told_that_it_has_all_if_it_has_not() {
    let (mut recovered, mut lost) = (0, 0);
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut world = World::new(8);
        let (first, _) = world.client(Since::Now).await;
        let mut clients = vec![first];
        let (mut late, mut brought, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..120 {
            match dice.below(20) {
                0..=6 => {
                    let arrival = world.append();
                    brought.push(arrival.clone());
                    world.arrive(arrival).await;
                }
                7 | 8 => late.push(world.append()),
                9 => drop(world.append()),
                10 | 11 if !late.is_empty() => {
                    let at = dice.below(late.len() as u64) as usize;
                    world.arrive(late.swap_remove(at)).await;
                }
                12 if !brought.is_empty() => {
                    let at = dice.below(brought.len() as u64) as usize;
                    world.arrive(brought[at].clone()).await;
                }
                13 if dice.below(3) == 0 => world.server.lose(1 + dice.below(4) as usize),
                14 if dice.below(8) == 0 => world.server.flush(),
                15 => world.server.set_away(dice.below(3) == 0),
                16 => {
                    // A process sees in time that its server is back, or that it has missed something.
                    let _ = world.directory.fill(&world.log()).await;
                }
                17 if clients.len() > 1 => {
                    let at = dice.below(clients.len() as u64) as usize;
                    let mut client = clients.swap_remove(at);
                    world.read(&mut client);
                    places.extend(client.last);
                    drop(client.connection.leave_all());
                }
                18 if clients.len() < 6 => {
                    let (client, _) = world.client(Since::Now).await;
                    clients.push(client);
                }
                19 if !places.is_empty() => {
                    let place = places[dice.below(places.len() as u64) as usize];
                    let (client, outcome) = world.client(Since::Position(place)).await;
                    match outcome {
                        Outcome::Recovered => recovered += 1,
                        Outcome::Lost(_) => lost += 1,
                    }
                    clients.push(client);
                }
                _ => settle().await,
            }
            for client in &mut clients {
                world.read(client);
            }
        }
        // In the end all is well, and all have all.
        world.server.set_away(false);
        for arrival in late {
            world.arrive(arrival).await;
        }
        world.directory.fill(&world.log()).await.unwrap();
        settle().await;
        for _ in 0..2 {
            world.send().await;
        }
        settle().await;
        for client in &mut clients {
            world.read(client);
            assert_eq!(client.last, Some(world.server.top()), "seed {seed}");
            drop(client.connection.leave_all());
        }
        assert_eq!(world.directory.group_count(), 0);
    }
    assert!(recovered > 100 && lost > 100, "{recovered} recovered, {lost} lost");
}

#[actix_web::test]
async fn one_read_answers_all_who_come_back_at_once() {
    let mut world = World::new(100);
    let start = world.server.top();
    for _ in 0..50 {
        world.append();
    }
    let joining = (0..200).map(|_| world.client(Since::Position(start)));
    for (mut client, outcome) in futures_util::future::join_all(joining).await {
        assert_eq!(outcome, Outcome::Recovered);
        settle().await;
        world.read(&mut client);
        assert_eq!(client.last, Some(world.server.top()));
    }
    assert!(world.server.reads() <= 3, "{} reads", world.server.reads());
}

#[actix_web::test]
async fn a_caller_that_gives_up_leaves_the_log_readable() {
    let mut world = World::new(100);
    let (mut client, _) = world.client(Since::Now).await;
    world.send().await;
    world.append();
    world.append();
    world.server.answers.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let log = world.log();
    {
        let mut fill = Box::pin(world.directory.fill(&log));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(fill.as_mut().poll(cx).is_pending());
        let mut second = Box::pin(world.directory.fill(&log));
        assert!(second.as_mut().poll(cx).is_pending());
        // The first gives up, and the second goes on.
        drop(fill);
        world.server.answers.add_permits(1);
        second.await.unwrap();
    }
    settle().await;
    world.read(&mut client);
    assert_eq!(client.last, Some(world.server.top()));
}

#[actix_web::test]
async fn a_member_that_joined_while_the_server_was_away_begins_when_it_is_back() {
    let mut world = World::new(100);
    world.server.set_away(true);
    let (mut client, outcome) = world.client(Since::Last(10)).await;
    assert_eq!(outcome, Outcome::Lost(LostReason::Unlogged));
    let (mut back, outcome) = world.client(Since::Position(world.server.top())).await;
    assert_eq!(outcome, Outcome::Lost(LostReason::Unlogged));
    world.server.set_away(false);
    world.directory.fill(&world.log()).await.unwrap();
    settle().await;
    for _ in 0..3 {
        world.send().await;
    }
    settle().await;
    for client in [&mut client, &mut back] {
        world.read(client);
        assert_eq!(client.last, Some(world.server.top()));
    }
}

/// Another thread lets a member join, sends an event, and lets the member leave: all before the thread's tasks run.
#[actix_web::test]
async fn a_member_that_leaves_at_once_gets_what_was_sent_while_it_was_in() {
    let mut world = World::new(100);
    world.append();
    let mut client = Client { connection: world.connection(), expected: None, last: None, lost: 0 };
    let log = world.hub.join(Rc::clone(&client.connection) as _, &room()).unwrap().unwrap();
    client.connection.introduce(&log);
    world.directory.open(&log).await;
    client.expected = Some(world.server.top());
    world.send().await;
    let sent = world.server.top();
    world.hub.leave(&*client.connection, &room());
    world.send().await;
    settle().await;
    world.read(&mut client);
    assert_eq!((client.last, client.lost), (Some(sent), 0));
}

#[actix_web::test]
async fn a_member_that_is_introduced_late_begins_where_the_log_was_opened() {
    let mut world = World::new(100);
    world.append();
    world.server.set_away(true);
    let (mut other, _) = world.client(Since::Now).await;
    let mut late = Client { connection: world.connection(), expected: None, last: None, lost: 0 };
    let log = world.hub.join_held(Rc::clone(&late.connection) as _, &room(), true).unwrap().unwrap();
    world.server.set_away(false);
    world.directory.fill(&log).await.unwrap();
    late.expected = Some(world.server.top());
    for _ in 0..3 {
        world.send().await;
    }
    world.read(&mut other);
    assert_eq!(other.last, Some(world.server.top()), "the thread has come so far");
    // Its client comes only now.
    world.hub.go_on(&*late.connection, &log, None);
    settle().await;
    world.read(&mut late);
    assert_eq!((late.last, late.lost), (Some(world.server.top()), 0));
}

/// The server is away, and what the process knows of the log is from before its last member left. So a client that comes
/// back is at its place. When the server is back, it turns out that the log has begun anew.
#[actix_web::test]
async fn a_place_in_a_log_that_is_not_open_is_kept() {
    let mut world = World::new(100);
    let (first, _) = world.client(Since::Now).await;
    world.send().await;
    let place = world.server.top();
    world.send().await;
    world.hub.leave(&*first.connection, &room());
    world.log().close();
    world.server.set_away(true);
    let mut back = Client { connection: world.connection(), expected: None, last: None, lost: 0 };
    let log = world.hub.join_held(Rc::clone(&back.connection) as _, &room(), true).unwrap().unwrap();
    world.directory.open(&log).await;
    assert_eq!(world.directory.reach(&log, place).await, Ok(place));
    world.hub.hold_at(&*back.connection, &log, place);
    assert_eq!(world.hub.place_of(&*back.connection, &log), Some(place), "its client is told so");
    world.hub.go_on(&*back.connection, &log, None);
    world.server.flush();
    world.append();
    world.server.set_away(false);
    world.directory.fill(&log).await.unwrap();
    settle().await;
    world.read(&mut back);
    assert_eq!(back.lost, 1);
}

/// A sender gives up while another still makes the bytes of an event before its own. Both events come to the queues, in
/// the order of the log, and not to a queue that joins later.
#[actix_web::test]
async fn a_sender_that_gives_up_leaves_the_queues_their_order() {
    let directory = Directory::new(LayerConfig::new().history("room", History::last(10)));
    let queue = crate::ChannelName::new("jobs").unwrap();
    directory.add_queue(&room(), &queue).unwrap();
    let log = directory.logs.of(&directory.config, &room()).unwrap();
    let append = |number| directory.logs.append(&log, Envelope::new(Said { number }), &[]).unwrap();
    let (first, second) = (append(1), append(2));
    {
        let entries = [second];
        let mut given_up = Box::pin(directory.emit(&log, &entries, false));
        assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    directory.emit(&log, &[first], false).await;
    directory.emit(&log, &[append(3)], false).await;
    for number in 1..=3 {
        let received = directory.queues.receive(&queue, &directory.counters).await.unwrap();
        assert_eq!(received.event::<Said>().unwrap().number, number);
    }
    let late = crate::ChannelName::new("late").unwrap();
    directory.add_queue(&room(), &late).unwrap();
    directory.emit(&log, &[append(4)], false).await;
    let received = directory.queues.receive(&late, &directory.counters).await.unwrap();
    assert_eq!(received.event::<Said>().unwrap().number, 4);
}
