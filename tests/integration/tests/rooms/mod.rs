//! Rooms: groups with a state.

mod ending;
mod join;
mod life;
mod order;
mod panics;
mod slow_layer;

use std::{collections::HashMap, time::Duration};

use greenroom::{
    ChannelName, Layer, LayerConfig, MemoryLayer, Mount, Room, RoomEnd, RoomEvents, RoomState, Rooms,
    error::DenyConnection, prelude::*,
};
use tokio::sync::mpsc;

/// A state that counts. It says what happens to it.
struct Board {
    players: HashMap<ChannelName, String>,
    log: mpsc::UnboundedSender<Happened>,
}

/// What happens to a board.
#[derive(Debug, PartialEq)]
enum Happened {
    Made,
    Started,
    Ticked(Duration),
    Ended(RoomEnd, usize),
    Dropped,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Kicked {}

impl Board {
    fn new(log: &mpsc::UnboundedSender<Happened>) -> Self {
        let _ = log.send(Happened::Made);
        Self { players: HashMap::new(), log: log.clone() }
    }

    fn note(&self, what: Happened) {
        let _ = self.log.send(what);
    }
}

impl RoomState for Board {
    fn started(&mut self, _: &mut RoomEvents) {
        self.note(Happened::Started);
    }

    fn tick(&mut self, elapsed: Duration, events: &mut RoomEvents) {
        self.note(Happened::Ticked(elapsed));
        events.send(said("tick"));
        assert!(!self.players.values().any(|name| name == "tick bomb"), "the tick panics");
    }

    async fn ended(self, why: RoomEnd) {
        self.note(Happened::Ended(why, self.players.len()));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.note(Happened::Dropped);
    }
}

/// A player, whose name is its path. The path `denied` is refused.
struct Player {
    room: Room<Board>,
    name: String,
}

impl Consumer for Player {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        self.room.join(ctx).await?;
        if self.name == "denied" {
            return Err(DenyConnection)?;
        }
        ctx.accept()?;
        let (me, name) = (ctx.channel_name(), self.name.clone());
        self.room
            .update(|board, events| {
                events.send(said(&format!("{name} came")));
                board.players.insert(me, name);
            })
            .await?;
        Ok(())
    }

    /// `whisper:<name>`, `kick:<name>`, `spare:<name>`, `panic`, `join`, `leave`, or something to say.
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?;
        match text.split_once(':') {
            Some((what, name)) => {
                self.room
                    .update(|board, events| {
                        let Some((channel, _)) = board.players.iter().find(|(_, known)| *known == name)
                        else {
                            return;
                        };
                        match what {
                            "kick" => events.send_to(channel, Kicked {}),
                            "spare" => {
                                events.send(said("for all"));
                                events.send_others(channel, said("for the others"));
                                events.send(said("for all again"));
                            }
                            _ => events.send_to(channel, said("psst")),
                        }
                    })
                    .await?;
            }
            None if text == "panic" => self.room.update(|_, _| panic!("the closure panics")).await?,
            None if text == "join" => self.room.join(ctx).await?,
            None if text == "leave" => self.room.leave(ctx).await?,
            None => self.room.update(|_, events| events.send(said(text))).await?,
        }
        Ok(())
    }

    async fn disconnect(&mut self, _: Disconnect, ctx: &mut Context) {
        let me = ctx.channel_name();
        let left = self.room.update(|board, events| {
            if let Some(name) = board.players.remove(&me) {
                events.send(said(&format!("{name} left")));
            }
        });
        let _ = left.await;
    }
}

#[event_handlers]
impl Player {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    async fn kicked(&mut self, _event: &Kicked, ctx: &mut Context) -> Result<()> {
        ctx.close_with(4001, "kicked")
    }
}

fn said(text: &str) -> Said {
    Said { text: text.to_owned() }
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn boards() -> (Rooms<Board>, mpsc::UnboundedReceiver<Happened>) {
    let (log, happened) = mpsc::unbounded_channel();
    (Rooms::new(move |_| Board::new(&log)), happened)
}

fn mount(rooms: &Rooms<Board>) -> Mount {
    let rooms = rooms.clone();
    let make = move |scope: &Scope| {
        Ok(Player { room: rooms.room(scope.param("room")?), name: scope.param("name")? })
    };
    Mount::new(UrlRouter::new().route("/{room}/{name}/", make)).unwrap()
}

fn memory() -> Layer {
    MemoryLayer::with_config(LayerConfig::new().capacity(100_000)).into()
}
