use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Said {
    user_name: String,
    #[serde(rename = "kind", alias = "sort", skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(with = "plain")]
    number: u8,
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
enum Room {
    Said(Said),
    #[serde(rename = "left", alias = "gone")]
    UserLeft {
        #[serde(default = "nobody", bound(serialize = ""))]
        user_name: String,
        #[serde(flatten)]
        rest: std::collections::BTreeMap<String, u8>,
    },
}

fn nobody() -> String {
    String::new()
}

mod plain {
    pub(super) fn serialize<S: serde::Serializer>(number: &u8, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(*number)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
        serde::Deserialize::deserialize(from)
    }
}

#[test]
fn compiles() {}
