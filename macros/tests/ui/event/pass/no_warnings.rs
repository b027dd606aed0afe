#![deny(warnings)]

use greenroom::{Context, Event, EventHandlers, NoEvents, Outgoing, Result, event_handlers};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tick;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Tock;

#[derive(NoEvents)]
struct Silent;

struct Clock;

#[event_handlers]
impl Clock {
    async fn tick(&mut self, _event: &Tick, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }

    #[relay]
    fn tock(_event: &Tock) -> Outgoing {
        Outgoing::text("tock")
    }
}

fn events<C: EventHandlers>(_: &C) -> usize {
    C::events().len()
}

#[test]
fn compiles() {
    assert_eq!(events(&Clock) + events(&Silent), 2);
    let _ = (Tick, Tock);
}
