//! The consumer. `django/chat/consumers.py` has the same in Python.

use greenroom::{layers::LayerGap, prelude::*};

/// A message in a room. Django sends and handles it too, as `{"type": "chat.message", "user": …, "text": …}`.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.message")]
pub(crate) struct ChatMessage {
    user: String,
    text: String,
}

/// Someone is typing, on a page of the Rust server.
///
/// Django's consumer has no method `rust_typing`, and this event would *end* it. So it goes to a group that has only members
/// on the Rust server.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("rust.typing")]
struct Typing {
    user: String,
}

/// A message from a page. Without a text, it says that the person is typing.
#[derive(Deserialize)]
struct FromPage {
    user: String,
    text: Option<String>,
}

/// One person in a room.
pub(crate) struct Chat {
    /// The group of the room on both servers.
    room: GroupName,
    /// The group of the room on the Rust server only, with all its processes.
    ours: GroupName,
}

impl Chat {
    pub(crate) fn new(scope: &Scope) -> Result<Self> {
        let room = GroupName::new(format!("chat_{}", scope.param::<String>("room")?))?;
        let ours = GroupName::new(format!("{room}.rust"))?;
        Ok(Self { room, ours })
    }
}

impl Consumer for Chat {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.room.clone(), self.ours.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let FromPage { user, text } = message.json()?;
        match text {
            Some(text) => ctx.group_send(&self.room, ChatMessage { user, text }).await,
            None => ctx.group_send_others(&self.ours, Typing { user }).await,
        }
    }
}

#[event_handlers]
impl Chat {
    /// Writes the message once for all members of this process, whichever server it comes from.
    #[relay]
    fn chat_message(event: &ChatMessage) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    #[relay]
    fn rust_typing(event: &Typing) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    /// Redis was away, and this connection lived. Messages that Django sent meanwhile are missing.
    async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
        if gap.group == self.room {
            ctx.send_event(gap)?;
        }
        Ok(())
    }
}
