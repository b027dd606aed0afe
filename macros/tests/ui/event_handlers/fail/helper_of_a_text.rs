use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Chat {
    async fn shout(&mut self, text: &str, ctx: &mut Context) -> Result<()> {
        ctx.send(text.to_uppercase())
    }

    async fn shout_all(&mut self, texts: Vec<String>, ctx: &mut Context) -> Result<()> {
        ctx.send(texts.concat())
    }

    async fn chat_message(&mut self, _event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
