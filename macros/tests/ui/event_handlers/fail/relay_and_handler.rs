use greenroom::{Context, Event, Outgoing, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Chat {
    async fn chat_message(&mut self, _event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }

    #[relay]
    #[on("chat.message")]
    fn other(event: &ChatMessage) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn main() {}
