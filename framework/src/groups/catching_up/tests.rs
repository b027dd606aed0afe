//! Members of groups with a log on one thread: who gets what when they come back, are slow, or join late.

use std::task::{Context, Waker};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, yield_now},
};

use super::*;
use crate::{
    ChannelName, Drain, Envelope, Event, EventHandlers, GroupName, LayerConfig, Limits, Outgoing,
    consumer::{
        connection::{Accepted, Connection, Next, RequestAnswer},
        start::class_of,
    },
    groups::{Delivery, budget::Budget, directory::Directory, inbox::Mail, thread},
    history::{History, Outcome, Since},
    wire::Wire,
};

#[derive(Clone, serde::Serialize, serde::Deserialize, Event)]
struct Said {
    text: String,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Typing {
    text: String,
}

impl Event for Typing {
    const NAMES: &'static [&'static str] = &["typing"];

    fn name(&self) -> &'static str {
        "typing"
    }

    fn is_transient(&self) -> bool {
        true
    }
}

/// Members whose relays make the messages.
struct Relay;

#[crate::event_handlers]
impl Relay {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    #[relay]
    fn typing(event: &Typing) -> Outgoing {
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

/// One thread's part of a layer whose group `room` keeps its events, with members that have no client.
struct World {
    directory: Arc<Directory>,
    hub: Rc<Hub>,
    drain: Drain,
    budget: Arc<Budget>,
    limits: Arc<Limits>,
}

impl World {
    fn new() -> Self {
        Self::with(History::last(100), Limits::new())
    }

    fn with(history: History, limits: Limits) -> Self {
        let directory = Directory::new(LayerConfig::new().capacity(3).history("room", history));
        Self {
            hub: thread::of_thread(&directory),
            directory,
            drain: Drain::new(),
            budget: Budget::new(Budget::DEFAULT),
            limits: Arc::new(limits),
        }
    }

    fn log(&self) -> Arc<Log> {
        self.directory.logs.of(&self.directory.config, &room()).unwrap()
    }

    fn connection<C: EventHandlers>(&self) -> Rc<Connection> {
        let guard = self.drain.reserve(usize::MAX).unwrap().enter(self.hub.queue()).unwrap();
        let (sender, answer) = oneshot::channel();
        let class = class_of::<C, crate::Context>(Wire::WebSocket(None));
        let limits = Arc::clone(&self.limits);
        let connection = Connection::new(&self.hub, class, limits, &self.budget, guard, sender, None);
        connection.answer(RequestAnswer::Accept(Accepted::default()));
        drop(answer);
        connection.set_busy(false);
        connection
    }

    /// An accepted and idle member.
    fn member<C: EventHandlers>(&self) -> Rc<Connection> {
        let connection = self.connection::<C>();
        self.hub.join(Rc::clone(&connection) as _, &room()).unwrap();
        connection
    }

    fn members(&self, count: usize) -> Vec<Rc<Connection>> {
        (0..count).map(|_| self.member::<Relay>()).collect()
    }

    /// A member that joins at a place.
    async fn since(&self, since: Since) -> (Rc<Connection>, Outcome) {
        let connection = self.connection::<Relay>();
        let log = self.hub.join_held(Rc::clone(&connection) as _, &room(), true).unwrap().unwrap();
        let outcome = connection.begin(&log, since).await;
        (connection, outcome)
    }

    async fn send(&self, text: &str) -> Delivery {
        let envelope = Envelope::new(Said { text: text.to_owned() });
        self.directory.publish(&room(), &[], envelope, true).await
    }

    /// Begins a send to a large group as its own task, and returns when the walk has it.
    async fn begin(&self, envelope: Envelope) -> JoinHandle<Delivery> {
        let directory = Arc::clone(&self.directory);
        let last = self.hub.slices.last();
        let sending = actix_rt::spawn(async move { directory.publish(&room(), &[], envelope, true).await });
        while self.hub.slices.last() == last {
            yield_now().await;
        }
        sending
    }

    async fn send_all(&self, texts: std::ops::Range<usize>) {
        for text in texts {
            self.send(&text.to_string()).await;
        }
    }

    /// What a sender on another thread has done before its call runs on this thread.
    fn append(&self, text: &str) {
        let log = self.log();
        let except: &[ChannelName] = &[];
        let entry = self.directory.logs.append(&log, Envelope::new(Said { text: text.to_owned() }), except);
        let entry = entry.expect("the log is open");
        let class = class_of::<Relay, crate::Context>(Wire::WebSocket(None));
        entry.form(log.alias, &self.directory.process, [class].iter(), &self.directory.counters);
        log.note_formed(&entry);
    }

    /// Lets the thread's tasks run until they have nothing more to do.
    async fn settle(&self) {
        while self.hub.slices.has_pending() {
            yield_now().await;
        }
        for _ in 0..500 {
            yield_now().await;
        }
    }
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

/// Takes the texts that wait for a client.
fn texts(connection: &Connection) -> Vec<String> {
    let cx = Context::from_waker(Waker::noop());
    let mut texts = Vec::new();
    while let Poll::Ready(Some(frame)) = connection.poll_outbox(&cx) {
        let frame: Bytes = frame;
        let head = if frame[1] < 126 { 2 } else { 4 };
        texts.push(String::from_utf8(frame[head..].to_vec()).unwrap());
    }
    texts
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[actix_web::test]
async fn a_member_that_comes_back_to_a_slower_thread_gets_no_event_twice() {
    let world = World::new();
    let other = world.member::<Relay>();
    world.send_all(0..3).await;
    // Other threads have sent these, and handed them to their members. This thread has yet to hear of them.
    world.append("3");
    world.append("4");
    let (back, outcome) = world.since(Since::Position(world.log().seen().unwrap())).await;
    assert_eq!(outcome, Outcome::Recovered);
    world.settle().await;
    assert!(texts(&back).is_empty());
    world.hub.serve_log(&world.log(), &mut None, &mut None);
    world.settle().await;
    world.send("5").await;
    world.settle().await;
    assert_eq!(texts(&back), ["5"]);
    assert_eq!(texts(&other), numbers(0..6));
    assert!(world.hub.behind().is_empty());
}

#[actix_web::test]
async fn if_a_sender_gives_up_the_members_get_the_event_all_the_same() {
    let world = World::new();
    let relays = world.members(2);
    let slow = world.member::<Handler>();
    world.send_all(0..3).await;
    assert!(slow.is_full());
    // It runs, so the sender waits for room in its inbox, and gives up.
    slow.begin_turn(&Context::from_waker(Waker::noop()));
    assert!(futures_util::FutureExt::now_or_never(world.send("3")).is_none());
    world.settle().await;
    for relay in &relays {
        assert_eq!(texts(relay), numbers(0..4));
    }
}

#[actix_web::test]
async fn a_member_that_catches_up_gets_what_is_in_no_log_from_a_walk() {
    let world = World::new();
    let _members = world.members(1_500);
    world.send_all(0..2).await;
    world.settle().await;
    let start = world.directory.before_last(&world.log(), 2).await.0.unwrap();
    let back = world.connection::<Relay>();
    let log = world.hub.join_held(Rc::clone(&back) as _, &room(), true).unwrap().unwrap();
    let sending = world.begin(Envelope::new(Typing { text: "typing".to_owned() })).await;
    // The walk begins at the other end of the list, and comes to this member when it is no longer behind.
    world.hub.go_on(&*back, &log, Some(start));
    world.settle().await;
    assert_eq!(sending.await.unwrap().delivered, 1_501);
    let mut got = texts(&back);
    got.sort();
    assert_eq!(got, ["0", "1", "typing"]);
}

#[actix_web::test]
async fn a_member_without_room_for_what_is_in_no_log_gets_no_event_of_the_log_twice() {
    let world = World::new();
    let _members = world.members(1_500);
    let slow = world.connection::<Handler>();
    let log = world.hub.join_held(Rc::clone(&slow) as _, &room(), true).unwrap().unwrap();
    slow.set_busy(true);
    let others = GroupName::new("others").unwrap();
    world.hub.join(Rc::clone(&slow) as _, &others).unwrap();
    for _ in 0..3 {
        let said = Envelope::new(Said { text: "other".to_owned() });
        world.directory.publish(&others, &[], said, true).await;
    }
    assert!(slow.is_full());
    let sends = [
        world.begin(Envelope::new(Typing { text: "typing".to_owned() })).await,
        world.begin(Envelope::new(Said { text: "1".to_owned() })).await,
        world.begin(Envelope::new(Said { text: "2".to_owned() })).await,
    ];
    world.hub.go_on(&*slow, &log, None);
    for _ in 0..10 {
        yield_now().await;
    }
    // It makes room, and gets each event once, in order.
    let cx = Context::from_waker(Waker::noop());
    slow.set_busy(false);
    let (mut got, mut others) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        slow.begin_turn(&cx);
        while let Poll::Ready(Next::Mail(mail)) = slow.poll_next(&cx) {
            match mail {
                Mail::Logged(_, _, position) => got.push(position.offset),
                Mail::Event(event) => others.push(event.name().to_owned()),
                other => panic!("{other:?}"),
            }
        }
        for _ in 0..10 {
            yield_now().await;
        }
    }
    for sending in sends {
        sending.await.unwrap();
    }
    assert_eq!(got, [1, 2]);
    assert_eq!(others, ["said", "said", "said", "typing"]);
}

#[actix_web::test]
async fn members_that_wait_are_listed_once() {
    let world = World::new();
    world.send_all(0..1).await;
    let start = Position::start(world.log().seen().unwrap().epoch);
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let connection = world.connection::<Relay>();
        let log = world.hub.join_held(Rc::clone(&connection) as _, &room(), true).unwrap().unwrap();
        world.hub.go_on(&*connection, &log, Some(start));
        waiting.push(connection);
    }
    for number in 1..50 {
        world.append(&number.to_string());
        world.hub.serve_log(&world.log(), &mut None, &mut None);
    }
    assert!(world.hub.behind().queued() <= 50);
    world.settle().await;
    for connection in &waiting {
        assert_eq!(texts(connection), numbers(0..50));
    }
    assert!(world.hub.behind().is_empty() && world.hub.behind().queued() == 0);
}

#[actix_web::test]
async fn a_member_with_a_full_outbox_misses_nothing_that_the_log_has() {
    let world = World::with(History::last(1_000), Limits::new().outbox_size(1_000));
    let slow = world.member::<Relay>();
    let quick = world.member::<Relay>();
    let long = |number: usize| format!("{number:0100}");
    let mut got = Vec::new();
    for number in 0..300 {
        let _ = world.send(&long(number)).await;
        assert_eq!(texts(&quick), [long(number)]);
        if number % 50 == 0 {
            got.extend(texts(&slow));
        }
    }
    assert!(!world.hub.behind().is_empty());
    for _ in 0..300 {
        world.settle().await;
        got.extend(texts(&slow));
        if got.len() == 300 {
            break;
        }
    }
    assert_eq!(got, (0..300).map(long).collect::<Vec<_>>());
    assert!(world.hub.behind().is_empty());
}

#[actix_web::test]
async fn joining_leaving_and_coming_back_during_a_walk_are_exact() {
    let world = World::new();
    let members = world.members(3_000);
    let sending = world.begin(Envelope::new(Said { text: "0".to_owned() })).await;
    // The walk is at its first slice. The last members have not been reached.
    let place = world.log().seen().unwrap();
    let epoch = place.epoch;
    world.hub.leave(&*members[2_999], &room());
    let (from_start, _) = world.since(Since::Position(Position::start(epoch))).await;
    let (from_here, _) = world.since(Since::Position(place)).await;
    let (last, _) = world.since(Since::Last(1)).await;
    let now = world.member::<Relay>();
    let handler = world.member::<Handler>();
    world.send("1").await;
    sending.await.unwrap();
    world.settle().await;
    for member in &members[..2_999] {
        assert_eq!(texts(member), numbers(0..2));
    }
    assert_eq!(texts(&members[2_999]), ["0"], "it gets what was sent before it left");
    assert_eq!(texts(&from_start), numbers(0..2));
    assert_eq!(texts(&last), numbers(0..2));
    assert_eq!(texts(&from_here), ["1"]);
    assert_eq!(texts(&now), ["1"]);
    assert!(handler.is_busy() || !handler.is_full());
}

#[actix_web::test]
async fn a_member_that_leaves_gives_its_place_back() {
    let world = World::new();
    world.send_all(0..5).await;
    let start = Position::start(world.log().seen().unwrap().epoch);
    let connection = world.connection::<Relay>();
    let log = world.hub.join_held(Rc::clone(&connection) as _, &room(), true).unwrap().unwrap();
    world.hub.go_on(&*connection, &log, Some(start));
    world.hub.leave(&*connection, &room());
    assert!(world.hub.behind().is_empty());
    world.settle().await;
    assert_eq!(texts(&connection), numbers(0..5), "what was sent before it left");
    // It joins again, from now on.
    world.hub.join(Rc::clone(&connection) as _, &room()).unwrap();
    world.send("5").await;
    assert_eq!(texts(&connection), ["5"]);
    drop(connection.leave_all());
    assert_eq!(world.directory.group_count(), 0);
}

/// What an idle connection costs, and its membership: history adds a pointer to the one, and nothing to the other.
#[test]
#[cfg(target_pointer_width = "64")]
fn history_costs_an_idle_connection_a_pointer() {
    let sizes = (size_of::<Connection>(), size_of::<crate::groups::member::Membership>());
    assert!(size_of::<crate::groups::member::Membership>() <= size_of::<GroupName>() + 16, "{sizes:?}");
}
