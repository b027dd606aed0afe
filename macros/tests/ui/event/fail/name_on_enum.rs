use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("room")]
enum Room {
    Joined,
}

fn main() {}
