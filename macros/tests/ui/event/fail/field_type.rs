use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Called {
    r#type: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Renamed {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
enum Variant {
    One {
        #[serde(rename(serialize = "type", deserialize = "kind"))]
        kind: String,
    },
}

fn main() {}
