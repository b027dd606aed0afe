use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[allow(non_camel_case_types)]
struct _Hidden {}

#[derive(Clone, Serialize, Deserialize, Event)]
struct Été {}

fn main() {}
