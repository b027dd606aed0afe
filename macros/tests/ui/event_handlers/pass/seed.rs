//! `{"type": "xx.oo", "message": {"text": "hi"}}` reaches `xx_oo`.
use greenroom::{Consumer, Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("xx.oo")]
struct Said {
    message: Text,
}

#[derive(Clone, Serialize, Deserialize)]
struct Text {
    text: String,
}

struct Room;

impl Consumer for Room {}

#[event_handlers]
impl Room {
    async fn xx_oo(&mut self, event: &Said, ctx: &mut Context) -> Result<()> {
        ctx.send(event.message.text.as_str())?;
        Ok(())
    }
}

#[test]
fn compiles() {}
