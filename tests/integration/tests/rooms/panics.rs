//! A panic of a room's code ends the room, and nothing else.

use greenroom::{
    Layer, LayerConfig, MemoryLayer, Mount, Room, RoomEnd, RoomError, RoomEvents, RoomState, Rooms,
    error::Result as AnyResult,
    history::History,
    prelude::*,
    rooms::RoomEnded,
    testing::{CommunicatorError, LiveServer, WebsocketCommunicator, advance, pause},
};
use integration_tests::{
    history::{Frame, Reader},
    log,
};

use super::{Happened::*, boards, group, memory, mount, said};

/// Is in the group of a room, and never calls it.
#[derive(NoEvents)]
struct Spectator {
    room: Room<super::Board>,
}

impl Consumer for Spectator {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.room.join(ctx).await?;
        ctx.accept()
    }
}

#[actix_web::test]
async fn a_panic_in_a_closure_ends_the_room_and_closes_its_members() {
    log::capture();
    let (rooms, mut happened) = boards();
    let mount = mount(&rooms);
    let mut ann = WebsocketCommunicator::new(&mount, "/panics/ann/");
    ann.connect().await.unwrap();
    let mut listener = {
        let rooms = rooms.clone();
        let layer = mount.default_layer().clone();
        let routes =
            UrlRouter::new().route("/", move |_: &Scope| Ok(Spectator { room: rooms.room(group("panics")) }));
        WebsocketCommunicator::new(&Mount::new(routes).unwrap().layer(layer), "/")
    };
    listener.connect().await.unwrap();
    ann.send_text("panic");
    let closed = |received: Result<Message, CommunicatorError>| match received {
        Err(CommunicatorError::Closed { code, reason }) => (u16::from(code), reason.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(ann.receive_text().await.unwrap(), "ann came");
    assert_eq!(closed(ann.receive().await).0, 1011);
    assert_eq!(closed(listener.receive().await), (1011, "the room has ended".to_owned()));
    log::logged(&["room=panics", "hook=Update", "the closure panics"]).await;
    assert_eq!(mount.default_layer().metrics().room_panics, 1);
    for expected in [Made, Started, Ended(RoomEnd::Panicked, 1), Dropped] {
        assert_eq!(happened.recv().await.unwrap(), expected);
    }
    let mut ann = WebsocketCommunicator::new(&mount, "/panics/ann/");
    ann.connect().await.expect("the next join makes a new room");
    assert_eq!(happened.recv().await.unwrap(), Made);
}

#[actix_web::test]
async fn a_panic_in_a_tick_ends_the_room() {
    pause();
    let (rooms, mut happened) = boards();
    let rooms = rooms.tick(std::time::Duration::from_secs(1));
    let room = rooms.open(group("lobby"), &memory()).await.unwrap();
    let name = room.group().clone();
    let channel = greenroom::ChannelName::new("someone").unwrap();
    room.update(|board, _| board.players.insert(channel, "tick bomb".to_owned())).await.unwrap();
    advance(std::time::Duration::from_secs(2)).await;
    while happened.recv().await.unwrap() != Ended(RoomEnd::Panicked, 1) {}
    let error = room.update(|_, events| events.send(said("?"))).await.unwrap_err();
    assert_eq!(error, RoomError::Ended { room: name, why: RoomEnd::Panicked });
    assert_eq!(error.to_string(), r#"the room "lobby" has ended: a closure or a hook of the room panicked"#);
    assert!(rooms.is_empty() && !room.is_joined());
}

/// A member that begins anew when its room has ended.
struct Stubborn {
    room: Room<super::Board>,
}

impl Consumer for Stubborn {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.room.join(ctx).await?;
        ctx.accept()
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        if message.text()? == "panic" {
            // Its error is left out.
            let _ = self.room.read(|_| panic!("the read panics"));
        }
        ctx.send_text(format!("joined: {}", self.room.is_joined()))
    }
}

#[event_handlers]
impl Stubborn {
    async fn room_ended(&mut self, event: &RoomEnded, ctx: &mut Context) -> Result<()> {
        self.room.join(ctx).await?;
        ctx.send_text(format!("{} begins anew", event.room))
    }
}

async fn two(mount: &Mount) -> [WebsocketCommunicator; 2] {
    let mut clients = ["/"; 2].map(|path| WebsocketCommunicator::new(mount, path));
    for client in &mut clients {
        client.connect().await.unwrap();
    }
    clients
}

#[actix_web::test]
async fn a_member_with_a_handler_joins_the_next_room() {
    let (rooms, mut happened) = boards();
    let theirs = rooms.clone();
    let routes =
        UrlRouter::new().route("/", move |_: &Scope| Ok(Stubborn { room: theirs.room(group("lobby")) }));
    let mount = Mount::new(routes).unwrap();
    let [mut ann, mut bob] = two(&mount).await;
    ann.send_text("panic");
    assert_eq!(ann.receive_text().await.unwrap(), "joined: false");
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.receive_text().await.unwrap(), "lobby begins anew");
        client.send_text("?");
        assert_eq!(client.receive_text().await.unwrap(), "joined: true");
    }
    assert_eq!(rooms.len(), 1);
    for expected in [Made, Started, Ended(RoomEnd::Panicked, 0), Dropped, Made, Started] {
        assert_eq!(happened.recv().await.unwrap(), expected);
    }
}

/// Begins anew in the hook that has seen the panic.
#[derive(NoEvents)]
struct Quick(Room<super::Board>);

impl Consumer for Quick {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        self.0.join(ctx).await
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        if message.text()? == "panic" {
            let ended = self.0.update(|_, _| panic!("the closure panics")).await;
            assert!(matches!(ended, Err(RoomError::Ended { .. })));
            self.0.join(ctx).await?;
        }
        ctx.send_text(format!("joined: {}", self.0.is_joined()))
    }
}

#[actix_web::test]
async fn a_member_of_the_next_room_is_not_closed_for_the_end_of_the_last() {
    let (rooms, _happened) = boards();
    let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(Quick(rooms.room(group("lobby")))));
    let mount = Mount::new(routes).unwrap();
    let [mut ann, mut bob] = two(&mount).await;
    ann.send_text("panic");
    for _ in 0..2 {
        assert_eq!(ann.receive_text().await.unwrap(), "joined: true");
        ann.send_text("?");
    }
    assert!(matches!(bob.receive().await, Err(CommunicatorError::Closed { .. })), "it is in the last room");
}

/// No log has the end of a room: whoever comes back is in another room.
#[actix_web::test]
async fn the_end_of_a_room_does_not_meet_those_who_come_back() {
    let config = LayerConfig::new().history("room*", History::last(10));
    let layer = Layer::from(MemoryLayer::with_config(config));
    let (rooms, _happened) = boards();
    let routes = UrlRouter::new().route("/", move |_: &Scope| Ok(Quick(rooms.room(group("room")))));
    let server = LiveServer::start(&Mount::new(routes).unwrap().layer(layer.clone()), 1).unwrap();
    let mut away = Reader::new(&server, "/").await;
    away.joined().await;
    let mut bob = Reader::new(&server, "/").await;
    bob.joined().await;
    let memory = away.cut();
    bob.say("panic").await;
    while bob.frame().await != Frame::Text("joined: true".to_owned(), None) {}
    assert_eq!(layer.metrics().room_panics, 1);
    let mut back = Reader::again(&server, "/", memory).await;
    // What it has missed comes before the answers.
    for _ in 0..2 {
        back.say("ping").await;
        while back.frame().await != Frame::Text("joined: true".to_owned(), None) {}
    }
}

/// Panics where its name says.
#[derive(Debug)]
struct Bomb(&'static str);

impl RoomState for Bomb {
    fn started(&mut self, _: &mut RoomEvents) {
        assert_ne!(self.0, "started", "this bomb explodes here");
    }

    async fn ended(self, _: RoomEnd) {
        assert_ne!(self.0, "ended", "this bomb explodes here");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(self.0 != "dropped", "this bomb explodes here");
    }
}

#[actix_web::test]
async fn a_panic_when_a_room_is_made_starts_or_ends_leaves_no_room_behind() {
    let layer = memory();
    let rooms = Rooms::new(|room: &GroupName| match room.as_str() {
        "made" => panic!("this bomb explodes here"),
        "started" => Bomb("started"),
        "ended" => Bomb("ended"),
        _ => Bomb("dropped"),
    });
    for (name, opens) in [("made", false), ("started", false), ("ended", true), ("dropped", true)] {
        let opened = rooms.open(group(name), &layer).await;
        assert_eq!(opened.is_ok(), opens, "{name}");
        drop(opened);
        assert!(rooms.is_empty(), "{name}");
    }
    let loads: Rooms<Bomb> =
        Rooms::load(async |_| -> AnyResult<Bomb> { Err(greenroom::Error::msg("no database")) });
    assert_eq!(loads.open(group("x"), &layer).await.unwrap_err().to_string(), "no database");
    assert!(loads.is_empty());
}
