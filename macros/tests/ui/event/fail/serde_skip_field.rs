use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
    #[serde(skip)]
    seen: bool,
    #[serde(default, skip_serializing)]
    read: bool,
    #[serde(skip_deserializing)]
    sent: bool,
}

fn main() {}
