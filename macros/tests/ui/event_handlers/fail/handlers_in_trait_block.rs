use greenroom::prelude::*;

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Consumer for Chat {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()
    }

    async fn chat_message(&mut self, _event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
