//! When a room begins, ticks and ends.

use std::time::Duration;

use futures_util::future::join_all;
use greenroom::{
    Body, HttpConsumer, HttpContext, Mount, Room, RoomEnd, RoomError, RoomState, Rooms,
    prelude::*,
    testing::{LiveServer, WebsocketCommunicator, advance, pause},
};
use integration_tests::{Client, PATIENCE, eventually, http::Http, log};
use tokio::{sync::oneshot, time::Instant};

use super::{Board, Happened::*, Said, boards, group, memory, mount, said};

const PERIOD: Duration = Duration::from_millis(50);

#[actix_web::test]
async fn a_room_begins_with_the_first_member_and_ends_with_the_last() {
    let (rooms, mut happened) = boards();
    let mount = mount(&rooms);
    let mut ann = WebsocketCommunicator::new(&mount, "/lobby/ann/");
    let mut bob = WebsocketCommunicator::new(&mount, "/lobby/bob/");
    assert!(rooms.is_empty());
    ann.connect().await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), "ann came");
    bob.connect().await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), "bob came");
    assert_eq!(rooms.len(), 1);
    bob.send_text("whisper:ann");
    assert_eq!(ann.receive_text().await.unwrap(), "psst");
    ann.disconnect().await;
    assert_eq!(bob.receive_text().await.unwrap(), "bob came");
    assert_eq!(bob.receive_text().await.unwrap(), "ann left");
    bob.disconnect().await;
    assert!(rooms.is_empty());
    for expected in [Made, Started, Ended(RoomEnd::Empty, 0), Dropped] {
        assert_eq!(happened.try_recv().unwrap(), expected);
    }
}

#[actix_web::test]
async fn a_room_ticks_until_it_ends() {
    pause();
    let (rooms, mut happened) = boards();
    let rooms = rooms.tick(PERIOD);
    let mount = mount(&rooms);
    let mut ann = WebsocketCommunicator::new(&mount, "/lobby/ann/");
    ann.connect().await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), "ann came");
    for _ in 0..3 {
        advance(PERIOD).await;
        assert_eq!(ann.receive_text().await.unwrap(), "tick");
    }
    ann.disconnect().await;
    advance(PERIOD * 10).await;
    for expected in [Made, Started, Ticked(PERIOD), Ticked(PERIOD), Ticked(PERIOD)] {
        assert_eq!(happened.recv().await.unwrap(), expected);
    }
    assert_eq!(happened.recv().await.unwrap(), Ended(RoomEnd::Empty, 0));
    assert_eq!(happened.recv().await.unwrap(), Dropped);
    assert!(happened.try_recv().is_err(), "no tick after the end");
}

#[actix_web::test]
async fn ticks_that_are_missed_are_left_out_and_the_others_stay_in_time() {
    pause();
    let (rooms, mut happened) = boards();
    let (rooms, layer) = (rooms.tick(PERIOD), memory());
    let _room = rooms.open(group("lobby"), &layer).await.unwrap();
    let start = Instant::now();
    assert_eq!((happened.recv().await, happened.recv().await), (Some(Made), Some(Started)));
    assert_eq!(happened.recv().await.unwrap(), Ticked(PERIOD));
    // The thread does nothing for five periods.
    advance(PERIOD * 5 + PERIOD / 2).await;
    assert_eq!(happened.recv().await.unwrap(), Ticked(PERIOD));
    assert_eq!(happened.recv().await.unwrap(), Ticked(PERIOD * 5));
    assert_eq!(happened.recv().await.unwrap(), Ticked(PERIOD));
    assert_eq!(layer.metrics().room_ticks_skipped, 4);
    let late = start.elapsed() - PERIOD * 8;
    assert!(late < Duration::from_millis(2), "the ticks are {late:?} late");
}

#[actix_web::test]
async fn an_empty_room_waits_for_its_grace() {
    pause();
    let (rooms, mut happened) = boards();
    let rooms = rooms.grace(Duration::from_secs(5));
    let mount = mount(&rooms);
    for name in ["ann", "bob"] {
        let mut client = WebsocketCommunicator::new(&mount, &format!("/lobby/{name}/"));
        client.connect().await.unwrap();
        client.abort().await;
        advance(Duration::from_secs(3)).await;
        assert_eq!(rooms.len(), 1, "{name} may come again");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(rooms.is_empty());
    for expected in [Made, Started, Ended(RoomEnd::Empty, 0), Dropped] {
        assert_eq!(happened.try_recv().unwrap(), expected);
    }
}

#[actix_web::test]
async fn a_room_ends_in_its_grace_if_its_thread_does() {
    let (rooms, mut happened) = boards();
    let rooms = rooms.grace(Duration::from_secs(5));
    let (theirs, layer) = (rooms.clone(), memory());
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            drop(theirs.open(group("lobby"), &layer).await.unwrap());
            assert_eq!(theirs.len(), 1);
        });
    });
    thread.join().unwrap();
    assert!(rooms.is_empty());
    for expected in [Made, Started, Ended(RoomEnd::Empty, 0), Dropped] {
        assert_eq!(happened.try_recv().unwrap(), expected);
    }
}

#[actix_web::test]
async fn a_refused_handshake_leaves_nothing_behind() {
    let (rooms, mut happened) = boards();
    let mount = mount(&rooms);
    let mut client = WebsocketCommunicator::new(&mount, "/lobby/denied/");
    assert_eq!(client.connect().await.unwrap_err().status(), 403);
    drop(client);
    eventually("the room has ended", || rooms.is_empty()).await;
    for expected in [Made, Started, Ended(RoomEnd::Empty, 0), Dropped] {
        assert_eq!(happened.recv().await.unwrap(), expected);
    }
    // The name alone makes no room.
    let room = rooms.room(group("lobby"));
    assert!(rooms.is_empty() && !room.is_joined());
    let error = room.read(|_| ()).unwrap_err();
    assert!(matches!(error, RoomError::NotJoined { .. }), "{error}");
    assert_eq!(error.to_string(), r#"the room "lobby" is not joined: call room.join(ctx) first"#);
}

#[actix_web::test]
async fn a_connect_that_needs_one_room_too_many_is_answered_503() {
    let (rooms, _happened) = boards();
    let rooms = rooms.limit(1);
    let mount = mount(&rooms);
    let mut ann = WebsocketCommunicator::new(&mount, "/one/ann/");
    ann.connect().await.unwrap();
    let mut bob = WebsocketCommunicator::new(&mount, "/two/bob/");
    let rejection = bob.connect().await.unwrap_err();
    assert_eq!((rejection.status(), rejection.body()), (503, "there are too many rooms"));
    assert_eq!(mount.default_layer().metrics().rooms_full, 1);
    let mut bob = WebsocketCommunicator::new(&mount, "/one/bob/");
    bob.connect().await.expect("the room that there is takes more");
    ann.disconnect().await;
    bob.disconnect().await;
    let mut bob = WebsocketCommunicator::new(&mount, "/two/bob/");
    bob.connect().await.expect("there is a place now");
}

/// A storm of clients must not fill the log.
#[actix_web::test]
async fn rooms_at_their_limit_are_logged_every_10_s_at_most() {
    log::capture();
    pause();
    struct Crowded;
    impl RoomState for Crowded {}
    let rooms = Rooms::new(|_: &GroupName| Crowded).limit(0);
    let layer = memory();
    for lines in 1..3 {
        for _ in 0..3 {
            assert!(rooms.open(group("lobby"), &layer).await.is_err());
        }
        let logged = log::lines(&["WARN", "there are too many rooms", "Crowded"]);
        assert_eq!(logged.len(), lines, "{logged:?}");
        advance(Duration::from_secs(11)).await;
    }
    assert_eq!(layer.metrics().rooms_full, 6);
}

/// Joins the room "two".
#[derive(NoEvents)]
struct Watch(Room<Board>);

impl HttpConsumer for Watch {
    async fn handle(&mut self, _: Body, ctx: &mut HttpContext) -> Result<()> {
        self.0.join(ctx).await?;
        ctx.send_json(200, &self.0.read(|board| board.players.len())?)
    }
}

#[actix_web::test]
async fn an_http_consumer_joins_too_and_is_answered_503_at_the_limit() {
    let (rooms, _happened) = boards();
    let (rooms, theirs) = (rooms.limit(1), memory());
    let watched = rooms.clone();
    let routes = UrlRouter::new().http("/", move |_: &Scope| Ok(Watch(watched.room(group("two")))));
    let mount = Mount::new(routes).unwrap().layer(theirs.clone());
    let server = LiveServer::start(&mount, 1).unwrap();
    let status = async || {
        let mut client = Http::open(server.address()).await;
        client.request("GET", "/", &[], b"").await;
        client.head().await.status
    };
    let one = rooms.open(group("one"), &theirs).await.unwrap();
    assert_eq!(status().await, 503, "the limit");
    drop(one);
    assert_eq!(status().await, 200, "there is a place now");
    eventually("the room ends with the exchange", || rooms.is_empty()).await;
}

#[actix_web::test]
async fn a_member_leaves_one_room_and_joins_it_again() {
    let (rooms, mut happened) = boards();
    let mount = mount(&rooms);
    let mut ann = WebsocketCommunicator::new(&mount, "/lobby/ann/");
    ann.connect().await.unwrap();
    assert_eq!(ann.receive_text().await.unwrap(), "ann came");
    ann.send_text("leave");
    ann.send_text("join");
    ann.send_text("hello");
    assert_eq!(ann.receive_text().await.unwrap(), "hello");
    for expected in [Made, Started, Ended(RoomEnd::Empty, 1), Dropped, Made, Started] {
        assert_eq!(happened.try_recv().unwrap(), expected);
    }
}

#[actix_web::test]
async fn a_drain_ends_rooms_at_once_and_players_are_removed() {
    let (rooms, mut happened) = boards();
    let rooms = rooms.grace(Duration::MAX).tick(PERIOD);
    let server = LiveServer::start(&mount(&rooms), 2).unwrap();
    let mut clients = Vec::new();
    for name in ["ann", "bob", "cleo", "dan"] {
        let mut client = Client::connect(&server, &format!("/lobby/{name}/")).await;
        while !client.text().await.ends_with("came") {}
        clients.push(client);
    }
    // Each client answers the close.
    let closed = join_all(clients.iter_mut().map(|client| client.closed()));
    let (left, closed) = tokio::join!(server.drain(PATIENCE), closed);
    assert_eq!(left, 0);
    assert!(rooms.is_empty() && closed.iter().all(|(code, _)| *code == 1012), "{closed:?}");
    drop(server);
    let mut rest = Vec::new();
    while let Ok(what) = happened.try_recv() {
        rest.push(what);
    }
    rest.retain(|what| !matches!(what, Ticked(_)));
    assert_eq!(rest, [Made, Started, Ended(RoomEnd::Shutdown, 0), Dropped]);
}

#[actix_web::test]
async fn a_room_goes_on_when_the_thread_that_made_it_has_ended() {
    let (rooms, mut happened) = boards();
    let (rooms, layer) = (rooms.tick(Duration::from_millis(5)), memory());
    let (theirs, their_layer) = (rooms.clone(), layer.clone());
    let (made, is_made) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let _room = theirs.open(group("lobby"), &their_layer).await.unwrap();
            made.send(()).unwrap();
            ends.await.unwrap();
        });
    });
    is_made.await.unwrap();
    let room = rooms.get(&group("lobby")).expect("the other thread has made it");
    let queue = layer.new_channel().await.unwrap();
    layer.group_add(room.group(), &queue).await.unwrap();
    assert_eq!(layer.receive(&queue).await.unwrap().event::<Said>().unwrap().text, "tick");
    end.send(()).unwrap();
    thread.join().unwrap();
    while happened.try_recv().is_ok() {}
    for _ in 0..3 {
        assert!(matches!(happened.recv().await.unwrap(), Ticked(_)), "this thread ticks now");
    }
    room.update(|_, events| events.send(said("still here"))).await.unwrap();
    while layer.receive(&queue).await.unwrap().event::<Said>().unwrap().text != "still here" {}
    drop(room);
    while happened.recv().await.unwrap() != Ended(RoomEnd::Empty, 0) {}
}
