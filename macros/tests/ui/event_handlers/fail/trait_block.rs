use greenroom::{Consumer, event_handlers};

struct Chat;

#[event_handlers]
impl Consumer for Chat {}

fn main() {}
