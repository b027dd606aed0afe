//! The consumer, beside that of `django/chat/consumers.py`.

use greenroom::{layers::LayerGap, prelude::*};

/// What is said in a room. Django sends it and handles it too, as `{"type": "chat.message", "user": …, "text": …}`.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.message")]
pub(crate) struct ChatMessage {
    user: String,
    text: String,
}

/// Someone is typing, on this side.
///
/// Django's consumer has no `rust_typing`, and would *end* where it got one: so it goes to a group that has members on this
/// side only.
#[derive(Clone, Serialize, Deserialize, Event)]
#[event("rust.typing")]
struct Typing {
    user: String,
}

/// What a page sends; one without a text says that its person is typing.
#[derive(Deserialize)]
struct FromPage {
    user: String,
    text: Option<String>,
}

/// One person in a room.
pub(crate) struct Chat {
    /// Of both servers.
    room: GroupName,
    /// Of this server, however many of its processes there are.
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
            None => ctx.group_send(&self.ours, Typing { user }).await,
        }
    }
}

#[event_handlers]
impl Chat {
    /// Written once for all members here, whichever server it comes from.
    #[relay]
    fn chat_message(event: &ChatMessage) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    #[relay]
    fn rust_typing(event: &Typing) -> Result<Outgoing> {
        Outgoing::event(event)
    }

    /// Redis was away, and the connection lived: what the other side said meanwhile is missing.
    async fn layer_gap(&mut self, gap: &LayerGap, ctx: &mut Context) -> Result<()> {
        if gap.group == self.room {
            ctx.send_event(gap)?;
        }
        Ok(())
    }
}
