use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

// While someone writes in a body, the handlers of the block are still known.
#[event_handlers]
impl Chat {
    async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()> {
        ctx.
    }
}

impl greenroom::Consumer for Chat {}

fn main() {}
