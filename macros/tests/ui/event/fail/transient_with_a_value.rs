use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(transient = false)]
struct Typing {}

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(temporary)]
struct Pointer {}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    #[event(transient)]
    by: String,
}

fn main() {}
