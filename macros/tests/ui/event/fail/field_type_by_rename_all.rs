use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
struct News {
    type_: String,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(rename_all_fields = "camelCase")]
enum Room {
    #[serde(rename_all = "camelCase")]
    Joined { _type: String },
    Left { r#type: String },
}

fn main() {}
