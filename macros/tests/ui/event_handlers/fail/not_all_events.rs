use greenroom::prelude::*;

#[derive(Clone, Serialize, Deserialize, Event)]
enum Room {
    #[event("room.joined")]
    Joined { user: String },
    #[event("room.left")]
    Left { user: String },
}

struct Chat;

#[event_handlers(all(Room))]
impl Chat {
    async fn room_joined(&mut self, _event: &Room, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
