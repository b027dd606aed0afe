use greenroom::{ChannelNameRouter, Context, Event, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {}

struct Chat;

#[event_handlers]
impl Chat {
    async fn news(&mut self, _event: &News, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let _ = ChannelNameRouter::new().channel("news", |_| Ok(Chat));
}
