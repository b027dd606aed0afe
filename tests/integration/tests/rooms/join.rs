//! How a join and the membership of the room's group go together.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    task::{Context as TaskContext, Waker},
    time::Duration,
};

use greenroom::{
    LayerConfig, MemoryLayer, Mount, Room, RoomError, RoomState, Rooms,
    history::History,
    prelude::*,
    rooms::RoomEnded,
    testing::{WebsocketCommunicator, pause},
};
use integration_tests::log;

use super::{Said, group, said};

struct World;

impl RoomState for World {}

/// Is in the group of the room by itself, if `is_member`. It answers each message.
struct Guest {
    room: Room<World>,
    is_member: bool,
}

impl Consumer for Guest {
    fn groups(&self) -> Vec<GroupName> {
        if self.is_member { vec![group("lobby")] } else { Vec::new() }
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.text()? {
            // The state is loaded from a database that may hang.
            "join" => match tokio::time::timeout(Duration::from_secs(1), self.room.join(ctx)).await {
                Ok(Ok(())) => ctx.send_text("joined"),
                Ok(Err(error)) => ctx.send_text(error.to_string()),
                Err(_) => ctx.send_text("too late"),
            },
            "panic" => {
                let _ = self.room.read(|_| panic!("the read panics"));
                ctx.send_text("ended")
            }
            other => ctx.send_text(other.to_owned()),
        }
    }
}

#[event_handlers]
impl Guest {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    async fn room_ended(&mut self, _event: &RoomEnded, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

async fn guest(make: impl Fn() -> Guest + Send + Sync + 'static) -> (Mount, WebsocketCommunicator) {
    let mount = Mount::new(UrlRouter::new().route("/", move |_: &Scope| Ok(make()))).unwrap();
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    (mount, client)
}

async fn answer(client: &mut WebsocketCommunicator, to: &str) -> String {
    client.send_text(to);
    client.receive_text().await.unwrap()
}

/// Whether the consumer gets what is sent to the group.
async fn is_in_group(mount: &Mount, client: &mut WebsocketCommunicator) -> bool {
    mount.default_layer().group_send(&group("lobby"), said("for members")).await.unwrap();
    match &*answer(client, "ping").await {
        "ping" => false,
        "for members" => {
            assert_eq!(client.receive_text().await.unwrap(), "ping");
            true
        }
        other => panic!("{other}"),
    }
}

#[actix_web::test]
async fn a_join_that_is_cancelled_joins_nothing() {
    pause();
    let rooms: Rooms<World> = Rooms::load(|_| std::future::pending());
    let theirs = rooms.clone();
    let (mount, mut client) =
        guest(move || Guest { room: theirs.room(group("lobby")), is_member: false }).await;
    assert_eq!(answer(&mut client, "join").await, "too late");
    assert!(rooms.is_empty());
    assert!(!is_in_group(&mount, &mut client).await);
}

#[actix_web::test]
async fn a_join_that_fails_changes_no_membership() {
    for is_member in [false, true] {
        let rooms: Rooms<World> = Rooms::load(|_| async { Err(greenroom::Error::msg("no database")) });
        let (mount, mut client) = guest(move || Guest { room: rooms.room(group("lobby")), is_member }).await;
        assert_eq!(answer(&mut client, "join").await, "no database");
        assert_eq!(is_in_group(&mount, &mut client).await, is_member);
    }
}

/// The membership is that of the last room, and goes with it.
#[actix_web::test]
async fn a_failed_join_of_the_next_room_leaves_the_group_of_the_last() {
    static IS_AWAY: AtomicBool = AtomicBool::new(false);
    let rooms = Rooms::load(|_| async {
        if IS_AWAY.load(SeqCst) { Err(greenroom::Error::msg("no database")) } else { Ok(World) }
    });
    let (mount, mut client) =
        guest(move || Guest { room: rooms.room(group("lobby")), is_member: false }).await;
    assert_eq!(answer(&mut client, "join").await, "joined");
    assert_eq!(answer(&mut client, "panic").await, "ended");
    assert!(is_in_group(&mount, &mut client).await, "until it joins or leaves");
    IS_AWAY.store(true, SeqCst);
    assert_eq!(answer(&mut client, "join").await, "no database");
    assert!(!is_in_group(&mount, &mut client).await);
}

/// A place that `Rooms::get` gave is one in the room, and not yet in its group.
#[actix_web::test]
async fn a_place_that_was_found_joins_the_group_too() {
    let rooms = Rooms::new(|_: &GroupName| World);
    let layer = super::memory();
    let _open = rooms.open(group("lobby"), &layer).await.unwrap();
    let make = move |_: &Scope| Ok(Guest { room: rooms.get(&group("lobby")).unwrap(), is_member: false });
    let mount = Mount::new(UrlRouter::new().route("/", make)).unwrap().layer(layer);
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();
    assert!(!is_in_group(&mount, &mut client).await);
    assert_eq!(answer(&mut client, "join").await, "joined");
    assert!(is_in_group(&mount, &mut client).await);
}

/// Polls a future once.
fn waits(future: &mut (impl Future + Unpin)) -> bool {
    Pin::new(future).poll(&mut TaskContext::from_waker(Waker::noop())).is_pending()
}

/// A room that is being loaded has a place for those that look for it, and has not ended.
#[actix_web::test]
async fn a_room_that_is_being_loaded_has_not_ended() {
    let (opens, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let rooms: Rooms<World> = Rooms::load(move |_| {
        let gate = gate.lock().unwrap().take().expect("it is loaded once");
        async {
            gate.await.unwrap();
            Ok(World)
        }
    });
    let layer = super::memory();
    let mut opening = Box::pin(rooms.open(group("lobby"), &layer));
    assert!(waits(&mut opening));
    let room = rooms.get(&group("lobby")).expect("it is being loaded");
    assert!(room.is_joined());
    assert_eq!(room.read(|_| ()), Err(RoomError::Loading { room: group("lobby") }));
    let mut update = Box::pin(room.update(|_, _| ()));
    assert!(waits(&mut update));
    opens.send(()).unwrap();
    let opened = opening.await.unwrap();
    assert_eq!(update.await, Ok(()), "it waited, as those do that join meanwhile");
    drop(opened);
    let given_up: Rooms<World> = Rooms::load(|_| std::future::pending());
    let mut opening = Box::pin(given_up.open(group("lobby"), &layer));
    assert!(waits(&mut opening));
    let room = given_up.get(&group("lobby")).unwrap();
    drop(opening);
    assert_eq!(room.update(|_, _| ()).await, Err(RoomError::Loading { room: group("lobby") }));
}

/// After a cut, a client would get the state, and then events that the state has already.
#[actix_web::test]
async fn a_room_whose_group_has_a_history_is_warned_of_once() {
    log::capture();
    let layer = LayerConfig::new().history("lobby", History::last(10));
    let rooms = Rooms::new(|_: &GroupName| World);
    let make = move |_: &Scope| Ok(Guest { room: rooms.room(group("lobby")), is_member: false });
    let mount = Mount::new(UrlRouter::new().route("/", make)).unwrap().layer(MemoryLayer::with_config(layer));
    for _ in 0..2 {
        let mut client = WebsocketCommunicator::new(&mount, "/");
        client.connect().await.unwrap();
        assert_eq!(answer(&mut client, "join").await, "joined");
    }
    let lines = log::lines(&["WARN", "the group of a room has a history", "join::World"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}
