use greenroom::prelude::*;

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

#[derive(NoEvents)]
struct Chat;

impl Chat {
    #[relay]
    fn chat_message(event: &ChatMessage) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    #[on("chat.message")]
    async fn second(&mut self, _event: &ChatMessage, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
