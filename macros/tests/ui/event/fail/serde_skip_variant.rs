use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    Joined,
    #[serde(skip)]
    Left,
}

fn main() {}
