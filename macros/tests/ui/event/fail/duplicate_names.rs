use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    Joined,
    #[event("joined")]
    Entered,
    #[event("room.left")]
    Left,
    #[event("room.left")]
    Gone,
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Door {
    #[event("opened")]
    Unlocked,
    Opened,
}

fn main() {}
