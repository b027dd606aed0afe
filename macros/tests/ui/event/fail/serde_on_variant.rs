use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    Joined,
    #[serde(with = "other_form")]
    Said(Text),
    #[serde(untagged)]
    Left { user: String },
}

#[derive(Clone)]
struct Text;

mod other_form {
    pub(super) fn serialize<S: serde::Serializer>(_: &super::Text, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_unit()
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(_: D) -> Result<super::Text, D::Error> {
        Ok(super::Text)
    }
}

fn main() {}
