use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("_chat.message")]
struct Underscore {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(".chat")]
struct Dot {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("")]
struct Empty {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat message")]
struct Space {}

fn main() {}
