use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    Said(String, String),
    Nothing(),
}

fn main() {}
