#[allow(unused_imports, reason = "the method that uses it is taken away")]
use greenroom::HttpContext;
use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Chat {
    #[cfg(any())]
    async fn chat_message(&mut self, _event: &ChatMessage, _ctx: &mut HttpContext) -> Result<()> {
        Ok(())
    }

    #[on("chat.message")]
    async fn second(&mut self, _event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
