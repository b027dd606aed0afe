use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(transient)]
enum Chat {
    #[event("chat.typing", transient)]
    Typing,
    Said {},
}

fn main() {}
