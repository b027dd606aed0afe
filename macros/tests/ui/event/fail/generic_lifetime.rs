use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said<'a> {
    text: &'a str,
}

fn main() {}
