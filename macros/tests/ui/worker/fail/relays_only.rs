use greenroom::{ChannelNameRouter, Event, Frame, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {}

struct Relays;

#[event_handlers]
impl Relays {
    #[relay]
    fn news(event: &News) -> Result<Frame> {
        Frame::event(event)
    }
}

fn main() {
    let _ = ChannelNameRouter::new().channel("news", |_| Ok(Relays));
}
