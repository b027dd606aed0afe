use greenroom::{Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct ChatMessage {
    text: String,
}

struct Chat;

#[derive(Clone, Serialize, Deserialize, Event)]
enum RoomEvent {
    #[event("room.joined")]
    Joined,
    #[event("room.left")]
    Left,
}

#[event_handlers]
impl Chat {
    #[on("room.gone")]
    async fn room_event(&mut self, _event: &RoomEvent, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
