//! The walk of a hub: serves large groups, one slice of members at a time.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
};

use tokio::time::Instant;

use super::{
    headroom::{ROOM_DEADLINE, yield_pass},
    hub::Hub,
    member::Member,
    slices::{LargeSend, Walk},
};

/// How many deliveries a slice has.
///
/// Their writes take about half a millisecond. Other connections wait for that long. Stopping after each slice costs a
/// hundredth of that time.
const SLICE: usize = if cfg!(all(test, shuttle)) { 1 } else { 64 };

/// Serves large sends, as long as there are any.
pub(super) async fn walk(hub: Rc<Hub>) {
    loop {
        poll_fn(|cx| {
            if hub.slices.has_pending() {
                return Poll::Ready(());
            }
            *hub.slices.walker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        for mut send in slice(&hub) {
            if let Some(reply) = send.reply.take() {
                // The sender may have given up.
                let _ = reply.send(send.sum.get());
            }
            // If the drop of an event panics, the walk must go on for all others.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(send)));
        }
        // This slice is written before the next one begins. So what others send waits for one slice at most.
        yield_pass().await;
        // Then the sockets are read. A task that only wakes itself would leave that to chance.
        tokio::task::yield_now().await;
    }
}

/// Walks one slice. Returns the sends that are done, to be dropped while nothing is borrowed.
fn slice(hub: &Hub) -> Vec<LargeSend> {
    let slices = &hub.slices;
    let Some(mut walk) = slices.walks.borrow_mut().pop_front() else { return Vec::new() };
    let mut done = Vec::new();
    if walk.go_on(hub) {
        done = slices.take(&walk.group, walk.until.min(walk.floor));
        let Some(oldest) = slices.oldest_of(&walk.group) else { return done };
        walk.begin_pass(hub, oldest, !done.is_empty());
    }
    slices.walks.borrow_mut().push_back(walk);
    done
}

impl Walk {
    /// Serves the next members. True at the end of the pass.
    ///
    /// Members may join and leave between two slices. A member that joins stands at the end, and is owed nothing. If a
    /// member leaves, [`MemberList::remove`](super::member::MemberList::remove) keeps the members that were served in
    /// front, so that none is left out.
    fn go_on(&mut self, hub: &Hub) -> bool {
        let groups = hub.groups.borrow();
        let Some(local) = groups.get(&self.group) else { return true };
        let mut budget = SLICE;
        // Classes stand in the order of their numbers, even if some have gone since the last slice.
        let class = self.class;
        for members in local.classes.iter().filter(|members| members.number >= class) {
            if members.number > self.class {
                (self.class, self.next) = (members.number, 0);
            }
            let only = hub.slices.only_send(&self.group);
            let form = only.as_ref().and_then(|send| send.form(&members.class));
            while let Some(member) = members.list.get(self.next) {
                if budget == 0 {
                    return false;
                }
                let deliveries = match &only {
                    Some(send) if !member.is_full() => send.serve(&**member, form, &hub.slices.behind),
                    _ => self.serve(hub, &**member),
                };
                budget = budget.saturating_sub(deliveries.max(1));
                self.next += 1;
            }
        }
        true
    }

    /// Brings one member up to date. Returns how many deliveries that took.
    fn serve(&mut self, hub: &Hub, member: &dyn Member) -> usize {
        let mut caught = hub.slices.catch_up(member, self.forced);
        let mut deliveries = caught.deliveries;
        if !caught.all && !member.may_make_room(self.since) {
            caught = hub.slices.catch_up(member, self.until);
            deliveries += caught.deliveries;
        }
        if !caught.all {
            self.floor = self.floor.min(member.memberships().served_of(&self.group));
        }
        deliveries
    }

    /// Begins the next pass: for sends that came meanwhile, and for members that were full.
    fn begin_pass(&mut self, hub: &Hub, oldest: u64, progress: bool) {
        if self.floor == u64::MAX || progress {
            self.deadline = None;
        }
        self.forced = 0;
        if self.floor != u64::MAX {
            let now = Instant::now();
            if now >= *self.deadline.get_or_insert(now + ROOM_DEADLINE) {
                self.forced = oldest;
            }
        }
        (self.class, self.next) = (0, 0);
        self.until = hub.slices.last();
        self.floor = u64::MAX;
        self.since = hub.next_pass();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
