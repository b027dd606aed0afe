//! The consumer: one member of a room.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use greenroom::{history::Since, prelude::*};

/// A message of a member to a room. Other programs may send it, and listen for it.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.message")]
pub(crate) struct ChatMessage {
    user: String,
    text: String,
    /// When it was sent, in milliseconds since 1970. Absent if another program left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

/// A member has come or gone.
///
/// These events go to a group that has only members of this process. Another program would not know them, and another
/// process counts its own changes.
///
/// `change` counts the changes of all rooms. A page that has got the members as of a change ignores that change and earlier
/// ones, which may still arrive.
#[derive(Clone, Serialize, Deserialize, Event)]
pub(crate) enum Presence {
    /// Someone has come.
    #[event("chat.joined")]
    Joined { user: String, change: u64 },
    /// Someone has gone.
    #[event("chat.left")]
    Left { user: String, change: u64 },
}

/// The members as of a change. A member gets it when it joins, which is that change.
///
/// A room with more than [`LISTED`] members says how many there are, and leaves out who. Then this event also takes the
/// place of [`Presence`].
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.members")]
pub(crate) struct Members {
    users: Vec<String>,
    count: usize,
    change: u64,
}

/// How many members of a room are listed by name.
///
/// Without a bound, each of a thousand members would get a thousand names, and hear of each that comes: a million
/// messages for one room that fills.
pub(crate) const LISTED: usize = 100;

/// How many of the last messages a member gets when it comes.
pub(crate) const SHOWN: usize = 50;

/// What a room hears of a change of its members.
enum News {
    One(Presence),
    All(Members),
    /// Nothing, as for most changes in a crowded room.
    Unsaid,
}

/// A message from a page. Any other text is a message too, so that every WebSocket client can take part.
#[derive(Deserialize)]
struct Said {
    user: Option<String>,
    text: String,
}

/// The members of each room in this process: the name of each connection.
#[derive(Clone)]
pub(crate) struct Rooms {
    present: Arc<Mutex<Present>>,
    /// A number in the groups' names, so that each process has groups of its own.
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
    /// Adds a member. Returns the members now, and what the room hears.
    fn join(&self, room: &GroupName, user: &str) -> (Members, News) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.changes += 1;
        let change = present.changes;
        let users = present.users.entry(room.clone()).or_default();
        users.push(user.to_owned());
        let members = Members::of(users, change);
        let news = match users.len() {
            ..=LISTED => News::One(Presence::Joined { user: user.to_owned(), change }),
            // The first change that is one too many makes the pages drop their lists.
            count if count == LISTED + 1 || is_told(count, change) => News::All(members.clone()),
            _ => News::Unsaid,
        };
        (members, news)
    }

    /// Removes a member. Returns what the room hears.
    fn leave(&self, room: &GroupName, user: &str) -> News {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.changes += 1;
        let change = present.changes;
        let Some(users) = present.users.get_mut(room) else { return News::Unsaid };
        if let Some(at) = users.iter().position(|known| known == user) {
            users.remove(at);
        }
        let news = match users.len() {
            ..LISTED => News::One(Presence::Left { user: user.to_owned(), change }),
            // The pages get their lists back.
            count if count == LISTED || is_told(count, change) => News::All(Members::of(users, change)),
            _ => News::Unsaid,
        };
        if users.is_empty() {
            present.users.remove(room);
        }
        news
    }
}

impl Members {
    fn of(users: &[String], change: u64) -> Self {
        let listed = if users.len() > LISTED { &[] } else { users };
        Self { users: listed.to_vec(), count: users.len(), change }
    }
}

/// Whether a crowded room hears of a change: the more members there are, the fewer changes are told.
fn is_told(count: usize, change: u64) -> bool {
    change.is_multiple_of((count / LISTED) as u64)
}

/// One member of a room.
pub(crate) struct Chat {
    room: GroupName,
    presence: GroupName,
    user: String,
    /// Whether the client gave its name when it connected.
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

impl Chat {
    async fn tell(&self, news: News, ctx: &Context) -> Result<()> {
        match news {
            News::One(presence) => ctx.group_send(&self.presence, presence).await,
            News::All(members) => ctx.group_send(&self.presence, members).await,
            News::Unsaid => Ok(()),
        }
    }
}

impl Consumer for Chat {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        // A page that comes back has its own place in the room, and gets what it missed instead.
        ctx.group_add_since(&self.room, Since::Last(SHOWN)).await?;
        ctx.group_add(&self.presence).await?;
        ctx.accept()?;
        self.joined = true;
        let (members, news) = self.rooms.join(&self.room, &self.user);
        ctx.send_event(&members)?;
        self.tell(news, ctx).await
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
        // A client that connected with a name keeps it, so it cannot send messages under another name.
        let user = said.user.filter(|_| !self.named).unwrap_or_else(|| self.user.clone());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since_1970.as_millis()).ok();
        ctx.group_send(&self.room, ChatMessage { user, text: said.text, at }).await
    }

    async fn disconnect(&mut self, _reason: Disconnect, ctx: &mut Context) {
        if !self.joined {
            return;
        }
        let news = self.rooms.leave(&self.room, &self.user);
        if let Err(error) = self.tell(news, ctx).await {
            tracing::warn!(%error, "the room does not learn that a member left");
        }
    }
}

#[event_handlers]
impl Chat {
    /// Writes the message once for all members, whichever program sent it.
    #[relay]
    fn chat_message(event: &ChatMessage) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    #[relay]
    fn presence(event: &Presence) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    #[relay]
    fn chat_members(event: &Members) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}
