use greenroom::{Event, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Chat {
    #[relay]
    fn chat_message(_event: &ChatMessage) {}
}

fn main() {}
