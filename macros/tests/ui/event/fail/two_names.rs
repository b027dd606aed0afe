use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.message")]
#[event("chat.text")]
struct ChatMessage {}

fn main() {}
