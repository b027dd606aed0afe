use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    text: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    Text(String),
    Maybe(Option<Inner>),
    Many(Vec<Inner>),
    Pair((u8, u8)),
    Inside(Inner),
}

fn main() {}
