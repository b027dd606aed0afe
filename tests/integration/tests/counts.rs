//! The cost of a group's message, to all or to others: one encoding, and no allocation for a member.
//!
//! This program has only one test, because it counts the allocations of the whole process.

use std::alloc::System;

use futures_util::FutureExt;
use greenroom::{
    Mount,
    prelude::*,
    testing::{WebsocketCommunicator, pause},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

struct Member;

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

/// The cost of one message to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    encodings: u64,
    allocations: usize,
    bytes: usize,
}

/// Measures the cost of one message of 128 bytes to this many members, after a few messages were sent.
///
/// With `others` the message is for all members but the first.
async fn cost(members: usize, others: bool) -> Cost {
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Member))).unwrap();
    let mut clients = Vec::new();
    for _ in 0..members {
        let mut client = WebsocketCommunicator::new(&mount, "/");
        client.connect().await.unwrap();
        clients.push(client);
    }
    let (layer, room) = (mount.default_layer().clone(), room());
    let said = Said { text: "x".repeat(128) };
    let except = if others { vec![clients[0].channel_name().unwrap()] } else { Vec::new() };
    let mut cost = None;
    for _ in 0..4 {
        for client in &mut clients {
            // The writer waits for the flush, as the writer of an idle socket does.
            assert!(client.receive().now_or_never().is_none(), "nothing was sent");
        }
        let encoded = layer.metrics().encoded;
        let region = Region::new(ALLOCATOR);
        if others {
            layer.group_send_except(&room, &except, &said).await.unwrap();
        } else {
            layer.group_send(&room, &said).await.unwrap();
        }
        for _ in 0..members {
            // The flush, in as many slices as it needs.
            tokio::task::yield_now().await;
        }
        let change = region.change();
        cost = Some(Cost {
            encodings: layer.metrics().encoded - encoded,
            allocations: change.allocations + change.reallocations,
            bytes: change.bytes_allocated,
        });
        for client in &mut clients[except.len()..] {
            assert_eq!(client.receive_text().await.unwrap(), said.text);
        }
    }
    cost.unwrap()
}

#[actix_web::test]
async fn a_message_to_a_group_is_encoded_once_and_allocates_nothing_for_a_member() {
    // The timing wheel looks at connections that are due, and makes lists of them. Here it never turns.
    pause();
    for others in [false, true] {
        let (ten, thousand) = (cost(10, others).await, cost(1_000, others).await);
        let sliced = cost(3_000, others).await;
        assert_costs(ten, thousand, sliced);
    }
}

fn assert_costs(ten: Cost, thousand: Cost, sliced: Cost) {
    let costs = format!("10 members: {ten:?}, 1,000: {thousand:?}, 3,000, in slices: {sliced:?}");
    assert!([ten, thousand, sliced].iter().all(|cost| cost.encodings == 1), "{costs}");
    assert_eq!(ten, thousand, "the allocations of a message grow with the members. {costs}");
    assert!(
        thousand.bytes <= 2048,
        "more than 2,048 bytes for 128 bytes of text, its event, its frame and the future of the send. {costs}"
    );
    // A walk allocates the reply of a task and a place in the queue of calls, whatever the number of members.
    assert!(sliced.allocations <= ten.allocations + 8 && sliced.bytes <= ten.bytes + 4096, "{costs}");
}
