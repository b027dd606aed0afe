use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(chat.message)]
struct ChatMessage {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event = "chat.message"]
struct Assigned {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event]
struct Bare {}

fn main() {}
