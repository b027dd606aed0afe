//! The arena: the state that its people share, and what they see of it.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use greenroom::{ChannelName, RoomEvents, RoomState, prelude::*};

/// What the page shows. It gets these events as they are: `{"type": "moved", "players": …}`.
#[derive(Clone, Serialize, Deserialize, Event)]
pub(crate) enum Shown {
    // Which player this client is. A spectator has no id.
    You { id: Option<u32> },
    // Id and name of each player, after each change. The first one is the host, who may remove others.
    People { players: Vec<(u32, String)> },
    // Id, place and score of each player, and the place of each spark.
    Moved { players: Vec<(u32, [i32; 2], usize)>, sparks: Vec<[i32; 2]> },
    Said { from: String, text: String },
    Whispered { from: String, text: String },
}

/// For a player whom the host removes.
#[derive(Clone, Serialize, Deserialize, Event)]
pub(crate) struct Removed {}

/// What a player can do.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Wish {
    Steer { x: f32, y: f32 },
    Say { text: String },
    Whisper { to: u32, text: String },
    Kick { id: u32 },
}

/// How many people can play in one arena. Further ones watch.
pub(crate) const PLAYERS: usize = 60;
const SIZE: [f32; 2] = [1000., 600.];

#[derive(Default)]
pub(crate) struct Arena {
    /// The one who has been here longest is the first.
    players: Vec<Player>,
    sparks: Vec<[f32; 2]>,
    last_id: u32,
}

struct Player {
    id: u32,
    name: String,
    channel: ChannelName,
    at: [f32; 2],
    steer: [f32; 2],
    score: usize,
}

impl RoomState for Arena {
    const TICK: Option<Duration> = Some(Duration::from_millis(50));

    fn tick(&mut self, elapsed: Duration, events: &mut RoomEvents) {
        self.sparks.resize_with(12, anywhere);
        // Players move 260 in a second. Nobody jumps across the arena if the process has paused.
        let way = 260. * elapsed.as_secs_f32().min(0.2);
        for player in &mut self.players {
            player.at = [0, 1].map(|axis| (player.at[axis] + player.steer[axis] * way).clamp(0., SIZE[axis]));
            let [x, y] = player.at;
            player.score += self.sparks.extract_if(.., |at| (x - at[0]).hypot(y - at[1]) < 20.).count();
        }
        let whole = |place: [f32; 2]| place.map(|part| part.round() as i32);
        let players = self.players.iter().map(|player| (player.id, whole(player.at), player.score)).collect();
        events.send(Shown::Moved { players, sparks: self.sparks.iter().copied().map(whole).collect() });
    }
}

impl Arena {
    /// Adds a player, if this person has a name and there is a place.
    pub(crate) fn enter(&mut self, name: Option<String>, channel: ChannelName, events: &mut RoomEvents) {
        let id = name.filter(|_| self.players.len() < PLAYERS).map(|name| {
            self.last_id += 1;
            let (id, channel) = (self.last_id, channel.clone());
            self.players.push(Player { id, name, channel, at: anywhere(), steer: [0.; 2], score: 0 });
            id
        });
        events.send_to(&channel, Shown::You { id });
        events.send(self.people());
    }

    pub(crate) fn leave(&mut self, channel: &ChannelName, events: &mut RoomEvents) {
        self.players.retain(|player| player.channel != *channel);
        events.send(self.people());
    }

    /// Does what a player wishes. A spectator's wishes do nothing.
    pub(crate) fn act(&mut self, channel: &ChannelName, wish: Wish, events: &mut RoomEvents) {
        let Some(me) = self.players.iter().position(|player| player.channel == *channel) else { return };
        let from = self.players[me].name.clone();
        match wish {
            // Nobody is faster than the others, whatever a client sends.
            Wish::Steer { x, y } => {
                self.players[me].steer = [x, y].map(|way| way.clamp(-1., 1.) / x.hypot(y).max(1.))
            }
            Wish::Say { text } => events.send(Shown::Said { from, text }),
            Wish::Whisper { to, text } => self.tell(to, Shown::Whispered { from, text }, events),
            Wish::Kick { id } if me == 0 => self.tell(id, Removed {}, events),
            Wish::Kick { .. } => {}
        }
    }

    fn tell(&self, id: u32, event: impl Event, events: &mut RoomEvents) {
        if let Some(player) = self.players.iter().find(|player| player.id == id) {
            events.send_to(&player.channel, event);
        }
    }

    fn people(&self) -> Shown {
        let players = self.players.iter().map(|player| (player.id, player.name.clone())).collect();
        Shown::People { players }
    }
}

/// A random place.
fn anywhere() -> [f32; 2] {
    SIZE.map(|size| RandomState::new().hash_one(0) as f32 / u64::MAX as f32 * size)
}
