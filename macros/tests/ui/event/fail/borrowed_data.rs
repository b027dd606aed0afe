use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Event)]
struct Said<'a> {
    text: &'a str,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {
    #[serde(default, deserialize_with = "headline")]
    text: &'static str,
}

fn headline<'de, D: serde::Deserializer<'de>>(_: D) -> Result<&'static str, D::Error> {
    Ok("")
}

fn main() {}
