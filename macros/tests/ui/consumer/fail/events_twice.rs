use greenroom::{NoEvents, event_handlers};

#[derive(NoEvents)]
struct Chat;

#[event_handlers]
impl Chat {}

fn main() {}
