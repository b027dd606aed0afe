use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(".said")]
#[serde(transparent)]
struct Said {
    r#type: String,
}

fn main() {}
