use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.typing", transient, transient)]
struct Typing {}

fn main() {}
