use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Chat {
    async fn chat_message(&mut self, ctx: &mut Context, event: &ChatMessage) -> Result<()> {
        ctx.send(event.text.as_str())
    }
}

fn main() {}
