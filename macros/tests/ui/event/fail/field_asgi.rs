use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    __asgi_channel__: String,
    #[serde(rename = "__asgi_group__")]
    group: String,
}

fn main() {}
