use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Plain {
    text: String,
}

impl From<Plain> for Said {
    fn from(plain: Plain) -> Self {
        Self { text: plain.text }
    }
}

impl From<Said> for Plain {
    fn from(said: Said) -> Self {
        Self { text: said.text }
    }
}

#[derive(Clone, Serialize, Deserialize, Event)]
#[serde(from = "Plain", into = "Plain")]
struct Said {
    text: String,
}

fn main() {}
