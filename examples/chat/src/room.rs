//! The consumer: one member of a room.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use greenroom::prelude::*;

/// What a member says to a room. Other programs send it, and listen for it.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.message")]
pub(crate) struct ChatMessage {
    user: String,
    text: String,
    /// When it was said, in milliseconds since 1970; absent where another program left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

/// Who comes and goes: on a group of its own, for members of this process only. Another program would not know the events,
/// and another process counts its own changes.
///
/// `change` counts the changes of all rooms. A page that was told the members as of one change
/// passes over that one and those before, which may still arrive after it.
#[derive(Clone, Serialize, Deserialize, Event)]
pub(crate) enum Presence {
    /// Someone has come.
    #[event("chat.joined")]
    Joined { user: String, change: u64 },
    /// Someone has gone.
    #[event("chat.left")]
    Left { user: String, change: u64 },
}

/// Who is there as of a change; sent to the one who joins and by that makes it.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.members")]
struct Members {
    users: Vec<String>,
    change: u64,
}

/// What a page sends. Any other text is a message too, so that every WebSocket client can join.
#[derive(Deserialize)]
struct Said {
    user: Option<String>,
    text: String,
}

/// Who is in which room of this process: the name of each connection.
#[derive(Clone)]
pub(crate) struct Rooms {
    present: Arc<Mutex<Present>>,
    /// Tells the groups of this process from those of others.
    mark: u32,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { present: Arc::default(), mark: RandomState::new().hash_one(()) as u32 }
    }
}

#[derive(Default)]
struct Present {
    users: BTreeMap<GroupName, Vec<String>>,
    changes: u64,
}

impl Rooms {
    /// Adds a member, and says who is there now.
    fn join(&self, room: &GroupName, user: &str) -> Members {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.changes += 1;
        let change = present.changes;
        let users = present.users.entry(room.clone()).or_default();
        users.push(user.to_owned());
        Members { users: users.clone(), change }
    }

    /// Removes a member, and says the number of this change.
    fn leave(&self, room: &GroupName, user: &str) -> u64 {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.changes += 1;
        if let Some(users) = present.users.get_mut(room) {
            if let Some(at) = users.iter().position(|known| known == user) {
                users.remove(at);
            }
            if users.is_empty() {
                present.users.remove(room);
            }
        }
        present.changes
    }
}

/// One member of a room.
pub(crate) struct Chat {
    room: GroupName,
    presence: GroupName,
    user: String,
    /// Whether the client said its name when it connected.
    named: bool,
    rooms: Rooms,
    joined: bool,
}

impl Chat {
    pub(crate) fn new(scope: &Scope, rooms: &Rooms) -> Result<Self> {
        let room: String = scope.param("room")?;
        let name = scope.query_param("name").map(|name| name.trim().chars().take(40).collect::<String>());
        let name = name.filter(|name| !name.is_empty());
        Ok(Self {
            room: GroupName::new(format!("chat_{room}"))?,
            presence: GroupName::new(format!("presence_{room}.{:08x}", rooms.mark))?,
            named: name.is_some(),
            user: name.unwrap_or_else(|| "guest".to_owned()),
            rooms: rooms.clone(),
            joined: false,
        })
    }
}

impl Consumer for Chat {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.group_add(&self.room).await?;
        ctx.group_add(&self.presence).await?;
        ctx.accept()?;
        self.joined = true;
        let members = self.rooms.join(&self.room, &self.user);
        ctx.send_event(&members)?;
        let joined = Presence::Joined { user: self.user.clone(), change: members.change };
        ctx.group_send(&self.presence, joined).await
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?;
        if text == "close" {
            ctx.close();
            return Ok(());
        }
        let said = message.json::<Said>().unwrap_or_else(|_| Said { user: None, text: text.to_owned() });
        if said.text == "close" {
            ctx.close();
            return Ok(());
        }
        // Who came with a name keeps it: nobody else's can stand under what they say.
        let user = said.user.filter(|_| !self.named).unwrap_or_else(|| self.user.clone());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since_1970.as_millis()).ok();
        ctx.group_send(&self.room, ChatMessage { user, text: said.text, at }).await
    }

    async fn disconnect(&mut self, _reason: Disconnect, ctx: &mut Context) {
        if !self.joined {
            return;
        }
        let change = self.rooms.leave(&self.room, &self.user);
        let left = Presence::Left { user: self.user.clone(), change };
        if let Err(error) = ctx.group_send(&self.presence, left).await {
            tracing::warn!(%error, "nobody learns that a member left");
        }
    }
}

#[event_handlers]
impl Chat {
    /// Written once for all members, whoever sent it.
    #[relay]
    fn chat_message(event: &ChatMessage) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    #[relay]
    fn presence(event: &Presence) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}
