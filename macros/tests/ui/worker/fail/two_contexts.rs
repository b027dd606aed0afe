use greenroom::{Context, Event, Result, WorkerContext, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Generate {
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, Event)]
struct News {}

struct Both;

#[event_handlers]
impl Both {
    async fn generate(&mut self, _job: &Generate, _ctx: &mut WorkerContext) -> Result<()> {
        Ok(())
    }

    async fn news(&mut self, _event: &News, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
