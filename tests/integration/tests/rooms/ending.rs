//! The last hook of a room, which may save the state.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use greenroom::{
    Mount, Room, RoomEnd, RoomState, Rooms,
    prelude::*,
    testing::{LiveServer, pause},
};
use integration_tests::{Client, PATIENCE, eventually};
use tokio::sync::{Semaphore, mpsc};

use super::{Happened, boards, group, memory};

/// A text that a slow database keeps.
struct Document {
    name: GroupName,
    text: String,
    database: Database,
}

#[derive(Clone)]
struct Database {
    saved: Arc<Mutex<String>>,
    /// Each save needs a permit.
    gate: Arc<Semaphore>,
    log: mpsc::UnboundedSender<String>,
}

impl RoomState for Document {
    async fn ended(self, why: RoomEnd) {
        let Database { saved, gate, log } = self.database;
        let _ = log.send(format!("{}: {why}", self.name));
        gate.acquire().await.unwrap().forget();
        *saved.lock().unwrap() = self.text;
        let _ = log.send(format!("{}: saved", self.name));
    }
}

fn documents() -> (Rooms<Document>, Database, mpsc::UnboundedReceiver<String>) {
    let (log, logged) = mpsc::unbounded_channel();
    let database = Database { saved: Arc::default(), gate: Arc::new(Semaphore::new(0)), log };
    let theirs = database.clone();
    let load = move |name| {
        let database = theirs.clone();
        async move {
            let text = database.saved.lock().unwrap().clone();
            Ok(Document { name, text, database })
        }
    };
    (Rooms::load(load), database, logged)
}

#[derive(NoEvents)]
struct Member(Room<Document>);

impl Consumer for Member {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.0.join(ctx).await?;
        ctx.accept()
    }
}

/// Rooms with members, and rooms in their grace.
#[actix_web::test]
async fn a_drain_waits_until_the_rooms_have_saved() {
    let (rooms, database, mut log) = documents();
    let rooms = rooms.grace(Duration::from_secs(3_600));
    let theirs = rooms.clone();
    let routes = UrlRouter::new()
        .route("/{room}/", move |scope: &Scope| Ok(Member(theirs.room(scope.param("room")?))));
    let server = LiveServer::start(&Mount::new(routes).unwrap(), 2).unwrap();
    let mut ann = Client::connect(&server, "/members/").await;
    let bob = Client::connect(&server, "/grace/").await;
    drop(bob);
    eventually("the client has gone", || server.connections() == 1).await;
    assert_eq!(rooms.len(), 2);
    let saves = async {
        let mut ended = [log.recv().await.unwrap(), log.recv().await.unwrap()];
        ended.sort();
        assert_eq!(ended, ["grace: the server shuts down", "members: the server shuts down"]);
        database.gate.add_permits(2);
    };
    let (left, _, ()) = tokio::join!(server.drain(PATIENCE), ann.closed(), saves);
    assert_eq!(left, 0);
    assert!(rooms.is_empty());
    let mut saved = [log.try_recv().unwrap(), log.try_recv().unwrap()];
    saved.sort();
    assert_eq!(saved, ["grace: saved", "members: saved"]);
}

#[actix_web::test]
async fn the_next_room_begins_when_the_last_one_has_saved() {
    let (rooms, database, mut log) = documents();
    let layer = memory();
    let room = rooms.open(group("lobby"), &layer).await.unwrap();
    room.update(|document, _| document.text.push_str("hello")).await.unwrap();
    drop(room);
    assert_eq!(log.recv().await.unwrap(), "lobby: nobody was left");
    let mut next = pin!(rooms.open(group("lobby"), &layer));
    assert!(next.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    // Who gives up while it waits lets nobody in before the time.
    let mut other = Box::pin(rooms.open(group("lobby"), &layer));
    assert!(other.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    drop(other);
    database.gate.add_permits(1);
    let room = next.await.unwrap();
    assert_eq!(room.read(|document| document.text.clone()).unwrap(), "hello");
}

#[actix_web::test]
async fn a_room_that_is_given_up_while_the_last_one_saves_lets_nobody_in() {
    let (rooms, database, mut log) = documents();
    let layer = memory();
    drop(rooms.open(group("lobby"), &layer).await.unwrap());
    assert_eq!(log.recv().await.unwrap(), "lobby: nobody was left");
    for _ in 0..2 {
        let mut next = pin!(rooms.open(group("lobby"), &layer));
        assert!(next.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    }
    database.gate.add_permits(1);
    rooms.open(group("lobby"), &layer).await.unwrap();
    assert_eq!(log.recv().await.unwrap(), "lobby: saved");
}

#[actix_web::test]
async fn a_save_that_never_ends_is_cancelled() {
    pause();
    let (rooms, _database, mut log) = documents();
    let layer = memory();
    drop(rooms.open(group("lobby"), &layer).await.unwrap());
    let start = tokio::time::Instant::now();
    rooms.open(group("lobby"), &layer).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(log.recv().await.unwrap(), "lobby: nobody was left");
}

/// Without a thread that could wait for the grace, the room ends at once.
#[test]
fn a_room_without_a_runtime_ends() {
    let (rooms, mut happened) = boards();
    let rooms = rooms.grace(PATIENCE);
    let layer = memory();
    {
        let mut open = pin!(rooms.open(group("lobby"), &layer));
        let Poll::Ready(room) = open.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) else {
            panic!("it needs no runtime")
        };
        drop(room.unwrap());
    }
    assert!(rooms.is_empty());
    while happened.try_recv().unwrap() != Happened::Ended(RoomEnd::Empty, 0) {}
}

/// A place that is kept longer than the threads of the room live.
#[test]
fn a_room_that_outlives_its_threads_ends() {
    let (rooms, mut happened) = boards();
    let rooms = rooms.grace(PATIENCE).tick(Duration::from_millis(10));
    let (theirs, layer) = (rooms.clone(), memory());
    let room = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move { theirs.open(group("lobby"), &layer).await })
    });
    drop(room.join().unwrap().unwrap());
    assert!(rooms.is_empty());
    while happened.try_recv().unwrap() != Happened::Ended(RoomEnd::Empty, 0) {}
}
