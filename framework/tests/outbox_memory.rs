//! The frames for clients that do not read take no more memory than the budget of all outboxes.

use std::alloc::System;

use greenroom::{Mount, prelude::*, testing::WebsocketCommunicator};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BUDGET: usize = 4 << 20;

/// Makes each member send so many bytes to its client.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Report {
    bytes: usize,
}

struct Member;

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }
}

#[event_handlers]
impl Member {
    async fn report(&mut self, event: &Report, ctx: &mut Context) -> Result<()> {
        ctx.send_bytes(vec![7; event.bytes])
    }
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

#[actix_web::test]
async fn outboxes_stay_within_their_budget() {
    let mount =
        Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Member))).unwrap().outbox_budget(BUDGET);
    let layer = mount.default_layer().clone();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = WebsocketCommunicator::new(&mount, "/");
        client.connect().await.unwrap();
        clients.push(client);
    }

    let region = Region::new(ALLOCATOR);
    // Without a budget this would be 64 MB in large frames, then many small frames for the clients that are left.
    for (bytes, count) in [(64 << 10, 10), (40, 500)] {
        for _ in 0..count {
            layer.group_send_counted(&room(), Report { bytes }).await.unwrap();
            tokio::task::yield_now().await;
            let change = region.change();
            let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
            assert!(held <= BUDGET + BUDGET / 8, "{held} bytes are held");
        }
    }
    let closed = layer.metrics().over_budget;
    assert!((1..100).contains(&closed), "{closed} were closed");
}
