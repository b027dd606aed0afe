use greenroom::{Event, Outgoing, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[event_handlers]
impl Chat {
    fn chat_message(event: &ChatMessage) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn main() {}
