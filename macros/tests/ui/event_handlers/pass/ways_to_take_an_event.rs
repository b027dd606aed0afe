use std::sync::Arc;

use greenroom::{Consumer, Context, Event, Outgoing, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
enum RoomEvent {
    Joined,
    Left,
}

mod events {
    use super::*;

    #[derive(Clone, Serialize, Deserialize, Event)]
    pub(super) struct Tick;
}

struct Room<T>(T);

impl<T: Send + 'static> Consumer for Room<T> {}

#[event_handlers]
impl<T: Send> Room<T> {
    async fn joined(&mut self, _event: RoomEvent, _: &mut Context) -> Result<()> {
        Ok(())
    }

    #[on("left")]
    async fn gone(&mut self, _event: Arc<RoomEvent>, _ctx: &mut Context) -> greenroom::Result<()> {
        Ok(())
    }

    #[relay]
    fn tick(_: &events::Tick) -> Result<Outgoing> {
        Outgoing::json(&1)
    }
}

#[test]
fn compiles() {}
