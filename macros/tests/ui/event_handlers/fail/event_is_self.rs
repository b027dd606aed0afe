use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

#[event_handlers]
impl ChatMessage {
    async fn chat_message(&mut self, _event: &Self, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
