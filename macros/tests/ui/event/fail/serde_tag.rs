use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(tag = "kind")]
enum Room {
    Joined { user: String },
}

fn main() {}
