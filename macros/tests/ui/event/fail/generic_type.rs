use greenroom::Event;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said<T> {
    text: T,
}

fn needs_event<E: Event>() {}

fn use_it() {
    needs_event::<Said<String>>();
}

fn main() {}
