use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(transparent)]
struct Said {
    text: String,
}

fn main() {}
