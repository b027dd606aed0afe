use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat<E>(E);

#[event_handlers]
impl<E: Event> Chat<E> {
    async fn said(&mut self, _event: &E, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
