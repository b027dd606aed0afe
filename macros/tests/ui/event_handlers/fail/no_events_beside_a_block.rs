use greenroom::prelude::*;

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

#[derive(NoEvents)]
struct Chat;

#[event_handlers]
impl Chat {
    async fn chat_message(&mut self, _event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
