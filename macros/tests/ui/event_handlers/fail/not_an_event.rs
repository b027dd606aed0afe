use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

struct Plain;

#[event_handlers]
impl Chat {
    async fn plain(&mut self, _event: &Plain, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
