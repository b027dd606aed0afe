use greenroom::{ChannelNameRouter, Event, Outgoing, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {}

struct Relays;

#[event_handlers]
impl Relays {
    #[relay]
    fn news(event: &News) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}

fn main() {
    let _ = ChannelNameRouter::new().channel("news", |_| Ok(Relays));
}
