//! Serves the members that are behind in the log of a group, until they are at its end.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll};

use super::{
    behind::{Hold, Place},
    headroom::yield_pass,
    history::{
        entry::Entry,
        log::{Log, News},
        lost::LostReason,
        position::Position,
    },
    hub::Hub,
    key::Key,
    member::{Member, Taken},
};

/// How many entries a member gets before the thread's other connections have their turn.
const SLICE: usize = if cfg!(all(test, shuttle)) { 1 } else { 64 };
/// How many slices a member gets at once that leaves.
const SLICES_AT_THE_END: usize = 4;

/// Serves members that are behind, as long as there are any that can be served.
pub(super) async fn catch_up(hub: Rc<Hub>) {
    let behind = hub.behind();
    loop {
        let key = poll_fn(|cx| {
            if let Some(key) = behind.next() {
                return Poll::Ready(key);
            }
            behind.task.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        if serve(&hub, key) {
            // What was served is written, and the others have their turn.
            yield_pass().await;
            tokio::task::yield_now().await;
        }
    }
}

/// Serves one member. Returns false if there was nothing to do.
fn serve(hub: &Rc<Hub>, key: Key) -> bool {
    let behind = hub.behind();
    let Some(member) = hub.connection(key).filter(|member| !member.has_ended()) else {
        behind.remove(key, None);
        return false;
    };
    let mut served = false;
    for (log, cursor) in behind.free(key) {
        served = true;
        // Without it the thread has not opened the log yet.
        let Some(end) = hub.served_of(&log) else {
            behind.set_hold(key, &log, Hold::Thread);
            continue;
        };
        let Some(cursor) = cursor else {
            // It has joined before the log was open, and begins where the thread did.
            behind.set_hold(key, &log, Hold::Decision);
            behind.move_on(key, &log, hub.began_of(&log).unwrap_or(end));
            member.introduce(&log);
            continue;
        };
        if cursor.epoch == end.epoch && cursor.offset > end.offset {
            // The member has been with a thread that was faster. Otherwise it would get some entries again.
            behind.set_hold(key, &log, Hold::Thread);
            continue;
        }
        match log.after(cursor, SLICE) {
            News::Entries(entries) => serve_entries(hub, &*member, &log, cursor, end, &entries),
            // The thread itself learns of the new epoch first.
            News::Lost { from, .. } if from.epoch != end.epoch => behind.set_hold(key, &log, Hold::Thread),
            News::Lost { reason, from } => {
                lose(hub, &member, &log, cursor, reason, if from.offset <= end.offset { from } else { end })
            }
        }
    }
    served
}

/// Hands the next entries to a member that is behind, up to the place `end` that the thread's other members have reached.
fn serve_entries(
    hub: &Hub,
    member: &dyn Member,
    log: &Arc<Log>,
    mut cursor: Position,
    end: Position,
    entries: &[Arc<Entry>],
) {
    let (behind, key) = (hub.behind(), member.key());
    for entry in entries.iter().filter(|entry| entry.position.offset <= end.offset) {
        if !member.is_left_out(&entry.left_out) {
            // This may run a relay: nothing is borrowed.
            let form = entry.form_for(log.alias, member.class(), &hub.directory().counters);
            match member.take_logged(&form, &entry.envelope, log.alias, entry.position) {
                Taken::Yes => {}
                Taken::Full => return behind.set_hold(key, log, Hold::Room),
                Taken::Ended => return behind.remove(key, None),
            }
        }
        cursor = entry.position;
        behind.move_on(key, log, cursor);
    }
    if cursor.offset < end.offset {
        behind.wake(key);
    } else if !hub.go_live(member, log) {
        behind.set_hold(key, log, Hold::Room);
    }
}

/// Hands a member that leaves a log what it was sent before, as far as it has room.
pub(super) fn finish(hub: &Hub, member: &dyn Member, log: &Arc<Log>) {
    if let Some(began) = hub.began_of(log) {
        // It may have waited for the log, which is open by now. Perhaps it was woken, and did not have its turn yet.
        hub.behind().with_place(member.key(), log, |place| {
            if place.cursor.is_none() && matches!(place.hold, Hold::Thread | Hold::Free) {
                (place.cursor, place.hold) = (Some(began), Hold::Free);
            }
        });
    }
    let free = |place: &mut Place| (place.hold == Hold::Free).then_some(place.cursor).flatten();
    for _ in 0..SLICES_AT_THE_END {
        let Some(Some(cursor)) = hub.behind().with_place(member.key(), log, free) else { return };
        let Some(end) = hub.served_of(log) else { return };
        match log.after(cursor, SLICE) {
            News::Entries(entries) if cursor.epoch == end.epoch && cursor.offset <= end.offset => {
                serve_entries(hub, member, log, cursor, end, &entries);
            }
            // The log has begun anew. The member still gets what was sent since.
            News::Lost { from, .. } if from.epoch == end.epoch && from.offset <= end.offset => {
                hub.behind().move_on(member.key(), log, from);
            }
            News::Entries(_) | News::Lost { .. } => return,
        }
    }
}

/// What a member has missed is not in this process. If a server has it, it is read; otherwise the member is told.
fn lose(
    hub: &Rc<Hub>,
    member: &Rc<dyn Member>,
    log: &Arc<Log>,
    cursor: Position,
    reason: LostReason,
    from: Position,
) {
    let (behind, key) = (hub.behind(), member.key());
    let can_be_read = reason == LostReason::Trimmed && hub.directory().logs.store().is_some();
    if can_be_read && behind.note_read(key, log) {
        behind.set_hold(key, log, Hold::Decision);
        let (hub, log) = (Rc::clone(hub), Arc::clone(log));
        actix_rt::spawn(async move {
            let reach = hub.directory().reach(&log, cursor).await;
            let Some(member) = hub.connection(key) else { return };
            if let Err(reason) = reach {
                let from = hub.served_of(&log).unwrap_or(cursor);
                tell_lost(&hub, &*member, &log, reason, from);
            }
            hub.behind().set_hold(key, &log, Hold::Free);
        });
        return;
    }
    tell_lost(hub, &**member, log, reason, from);
    behind.wake(key);
}

/// Tells a member that it may have missed entries, and that it goes on from here.
fn tell_lost(hub: &Hub, member: &dyn Member, log: &Arc<Log>, reason: LostReason, from: Position) {
    hub.directory().counters.lost(reason);
    member.note_lost(log, reason, from);
    hub.behind().move_on(member.key(), log, from);
}

#[cfg(all(test, not(shuttle)))]
mod tests;
