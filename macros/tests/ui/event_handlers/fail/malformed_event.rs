use greenroom::{Consumer, Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("_said")]
struct Said {}

struct Chat;

impl Consumer for Chat {}

// Only the name is reported, because this block has no mistake.
#[event_handlers]
impl Chat {
    async fn said(&mut self, _event: &Said, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
