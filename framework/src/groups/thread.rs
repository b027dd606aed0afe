//! The four tasks that each hub runs on its thread.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Delivery,
    catching_up::catch_up,
    directory::Directory,
    error::LayerError,
    headroom::{LocalDelivery, deliver_on_hub, wait_for_room_of, yield_pass},
    hub::Hub,
    hubs::{self, Registered},
    load::Load,
    pace,
    queue::Call,
    walk::walk,
    wheel,
};
use crate::{
    runtime,
    wire::{encoded, limits::Ticks},
};

/// How many writers are woken before the thread looks at its sockets again.
const FLUSHES_A_TURN: usize = 256;
/// For this many writers or more, the thread first looks at its sockets once more.
const WORTH_A_LOOK: usize = 32;
/// How many calls of other threads run before this thread's connections get a turn.
const CALLS_A_TURN: u32 = 64;

/// The hub of this thread for `directory`, made at its first connection.
pub(crate) fn of_thread(directory: &Arc<Directory>) -> Rc<Hub> {
    if let Some(hub) = hubs::find(|hub| hub.directory().id() == directory.id()) {
        return hub;
    }
    runtime::require_local();
    let registered = Registered::new(directory);
    let hub = Rc::clone(&registered.0);
    actix_rt::spawn(run_calls(registered));
    actix_rt::spawn(walk(Rc::clone(&hub)));
    if directory.logs.are_kept() {
        actix_rt::spawn(catch_up(Rc::clone(&hub)));
    }
    actix_rt::spawn(flush(Rc::clone(&hub)));
    actix_rt::spawn(turn_wheel(Rc::clone(&hub)));
    hub
}

/// Wakes the writers of a turn together.
///
/// The first frame of a turn wakes this task, which then stands in the run queue behind the reads that were due
/// already. So the frames that these reads send to the same members leave in the same write.
async fn flush(hub: Rc<Hub>) {
    let mut batch = Vec::new();
    loop {
        poll_fn(|cx| {
            if !hub.dirty.borrow().is_empty() {
                return Poll::Ready(());
            }
            *hub.flusher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        if hub.dirty.borrow().len() >= WORTH_A_LOOK {
            // So many writes cost far more than one look at the sockets. What is read now leaves in the same writes.
            tokio::task::yield_now().await;
        }
        // Swapped, so that both lists keep their memory.
        std::mem::swap(&mut batch, &mut *hub.dirty.borrow_mut());
        let began = hub.later.flush_begins();
        encoded::forget();
        for (flushed, slot) in batch.drain(..).enumerate() {
            if flushed > 0 && flushed.is_multiple_of(FLUSHES_A_TURN) {
                // Frames that come meanwhile for the connections that are left leave with these writes.
                tokio::task::yield_now().await;
            }
            if let Some(connection) = hub.connection_at(slot) {
                connection.flush();
            }
        }
        hub.later.flush_ended(began);
    }
}

/// Ticks while something is scheduled. Has connections look at their deadlines when their time has come.
async fn turn_wheel(hub: Rc<Hub>) {
    let wheel = hub.wheel();
    loop {
        poll_fn(|cx| wheel.poll_scheduled(cx)).await;
        let before = wheel.now();
        sleep_until(wheel.start_of(before + 1)).await;
        if wheel.refresh() - before > wheel::LATE {
            // The thread was blocked. What clients sent meanwhile must be read before their deadlines are checked.
            sleep(Ticks::LENGTH).await;
            wheel.refresh();
        }
        while let Some(slot) = wheel.pop() {
            if let Some(connection) = hub.connection_at(slot) {
                connection.look_due();
            }
        }
    }
}

/// Closes the connections of a drain on this hub, batch by batch. Connections of later batches work as before.
async fn close_all(hub: Rc<Hub>, drain: u64, batches: usize, window: Duration) {
    let start = Instant::now();
    // No more connections can come: the drain refuses them from now on.
    let keys = hub.keys_of(drain);
    let size = keys.len().div_ceil(batches).max(1);
    for (batch, keys) in keys.chunks(size).enumerate() {
        if batch > 0 {
            sleep_until(start + pace::due(batch, batches, window)).await;
        }
        for key in keys {
            if let Some(connection) = hub.connection(*key) {
                connection.shut_down();
            }
        }
    }
}

/// Runs the calls of other threads, in the order in which they came.
pub(super) async fn run_calls(registered: Registered) {
    let hub = &registered.0;
    let mut run = 0_u32;
    loop {
        run += 1;
        if run.is_multiple_of(CALLS_A_TURN) {
            yield_pass().await;
        }
        match poll_fn(|cx| hub.queue().poll_pop(cx)).await {
            #[cfg(feature = "testing")]
            Call::Census { reply } => {
                let _ = reply.send(hub.census());
            }
            Call::CloseAll { drain, batches, window } => {
                actix_rt::spawn(close_all(Rc::clone(hub), drain, batches, window));
            }
            Call::Relieve { budget } => hub.relieve_for(budget),
            Call::Log { log, entry, reply, room } => {
                let delivery = match deliver_on_hub(hub, &log.group, Load::Log(&log, &entry)).await {
                    Some(LocalDelivery::Delivered(delivery)) => delivery,
                    Some(LocalDelivery::Large) => {
                        hub.serve_large_log(&log, &entry, reply, room);
                        continue;
                    }
                    None => Delivery::default(),
                };
                drop(room);
                if let Some(reply) = reply {
                    // The sender may have given up.
                    let _ = reply.send(delivery);
                }
            }
            Call::LateLog { log } => hub.serve_log(&log, &mut None, &mut None),
            Call::Deliver { group, parcel, reply, room } => {
                let delivery = match deliver_on_hub(hub, &group, Load::Event(&parcel)).await {
                    Some(LocalDelivery::Delivered(delivery)) => delivery,
                    // The large send has a number, so the calls behind it need not wait for it to keep the order.
                    Some(LocalDelivery::Large) => {
                        hub.start_large(group, parcel, None, reply, Some(room));
                        continue;
                    }
                    None => Delivery::default(),
                };
                drop(room);
                if let Some(reply) = reply {
                    // The sender may have given up.
                    let _ = reply.send(delivery);
                }
            }
            Call::Join { key, group, reply, room: _room } => {
                let joined = match hub.connection(key) {
                    Some(connection) => hub.join(Rc::clone(&connection), &group).map(|log| {
                        if let Some(log) = log {
                            connection.introduce(&log);
                        }
                    }),
                    None => Err(LayerError::NoReceiver),
                };
                let _ = reply.send(joined);
            }
            Call::Leave { key, group, reply, room: _room } => {
                if hub.slices.has_pending() {
                    // The member must still get what was sent before it leaves.
                    wait_for_room_of(hub, key).await;
                }
                if let Some(connection) = hub.connection(key) {
                    hub.leave(&*connection, &group);
                }
                let _ = reply.send(());
            }
            Call::Send { key, envelope, reply, room: _room } => {
                wait_for_room_of(hub, key).await;
                let _ = reply.send(hub.send(key, envelope));
            }
        }
    }
}
