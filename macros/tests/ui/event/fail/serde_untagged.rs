use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(untagged)]
enum Room {
    Joined { user: String },
}

fn main() {}
