use greenroom::{Event, Outgoing, Result, WorkerContext, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Generate {
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {}

struct Thumbnails;

#[event_handlers]
impl Thumbnails {
    async fn generate(&mut self, _job: &Generate, _ctx: &mut WorkerContext) -> Result<()> {
        Ok(())
    }

    #[relay]
    fn news(event: &News) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}

fn main() {}
