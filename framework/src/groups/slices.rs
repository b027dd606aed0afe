//! Fan-out to a large group: in slices, between which the others of the worker get their turn.
//!
//! A send to a large group becomes a job, with a number. The worker's walk goes round the groups that have jobs, a
//! slice of members at a time, and brings each member *up to date*: it gets all jobs of its groups that it has not
//! got yet, in the order of their numbers. Whatever else puts something into a connection's queues brings it up to
//! date first, so the order of the calls holds. A membership knows the job up to which it was served, from its
//! start on; so who joins or leaves beside a walk is neither skipped nor served twice.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Poll, Waker},
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    Delivery,
    fan_out::{Form, Parcel},
    hub::{Hub, Key, LocalGroup},
    room::{ROOM_DEADLINE, yield_pass},
};
use crate::{GroupName, consumer::connection::Connection};

/// A group with more members than this on one worker is served in slices.
const LARGE: usize = if cfg!(all(test, shuttle)) { 1 } else { 1000 };
/// How many deliveries a slice has. Their writes take about half a millisecond, which is what the others wait;
/// what it costs to stand back in between is a hundredth of that.
const SLICE: usize = if cfg!(all(test, shuttle)) { 1 } else { 64 };

/// What large groups of a hub are still owed.
#[derive(Default)]
pub(super) struct Slices {
    /// In the order of their numbers.
    jobs: RefCell<VecDeque<Job>>,
    /// How many there are: while none is, nothing else here is looked at.
    pending: Cell<usize>,
    /// The number of the last job.
    last: Cell<u64>,
    /// One for each group with a job; they take turns.
    walks: RefCell<VecDeque<Walk>>,
    /// The task that walks.
    walker: RefCell<Option<Waker>>,
}

/// One event for one large group. Dropped only while the hub is not borrowed: it may hold the last of the event.
struct Job {
    number: u64,
    group: GroupName,
    parcel: Parcel,
    sum: Cell<Delivery>,
    /// Says how far it got. It belongs to the hub and not to the sender, so that one that gives up leaves no half.
    reply: Option<oneshot::Sender<Delivery>>,
    /// Its bytes count in the worker's queue until all members have them.
    _room: OwnedSemaphorePermit,
}

/// A way through the members of one group, one pass after the other until no job is left.
struct Walk {
    group: GroupName,
    /// The next member: the number of its class, and its slot there.
    class: u32,
    slot: usize,
    /// The last job when the pass began: at the end of the pass all up to it are done.
    until: u64,
    /// But for those that a member with a full inbox has yet to get: only up to this one.
    floor: u64,
    /// Up to this job full members lose what they have no room for: they were waited for long enough.
    forced: u64,
    /// The hub's pass after the pass before: who has not run since is suspended.
    since: u64,
    deadline: Option<Instant>,
}

/// How far a connection was brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaughtUp {
    /// Whether it has got all it was owed. Else its inbox is full.
    pub(super) all: bool,
    /// How many deliveries that took.
    deliveries: usize,
}

impl Slices {
    /// How many events are still to be handed to members.
    pub(super) fn pending(&self) -> usize {
        self.pending.get()
    }
}

impl Hub {
    /// Whether a large group is still owed something.
    pub(crate) fn has_pending(&self) -> bool {
        self.slices.pending() > 0
    }

    /// The number of the last job: who joins a group now is owed nothing up to it.
    pub(super) fn last_job(&self) -> u64 {
        self.slices.last.get()
    }

    /// Owes the members of a group an event from now on.
    pub(super) fn start(
        &self,
        group: GroupName,
        parcel: Parcel,
        reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
    ) {
        let slices = &self.slices;
        let number = slices.last.get() + 1;
        slices.last.set(number);
        let mut walks = slices.walks.borrow_mut();
        match walks.iter_mut().find(|walk| walk.group == group) {
            // One that has not set out yet takes it along.
            Some(walk) if (walk.class, walk.slot) == (0, 0) => walk.until = number,
            Some(_) => {}
            None => walks.push_back(Walk::new(group.clone(), number, self.pass.get())),
        }
        slices.jobs.borrow_mut().push_back(Job {
            number,
            group,
            parcel,
            sum: Cell::default(),
            reply,
            _room: room,
        });
        slices.pending.set(slices.pending.get() + 1);
        if let Some(walker) = slices.walker.take() {
            walker.wake();
        }
    }

    /// Hands a connection all it is owed. Up to the job `forced` it loses what its full inbox has no room for; a later
    /// one is left pending there.
    pub(super) fn catch_up(&self, connection: &Rc<Connection>, forced: u64) -> CaughtUp {
        let last = self.last_job();
        let served = connection.served();
        let mut deliveries = 0;
        if served >= last {
            return CaughtUp { all: true, deliveries };
        }
        let class = connection.class();
        let jobs = self.slices.jobs.borrow();
        let first = jobs.partition_point(|job| job.number <= served);
        for job in jobs.range(first..) {
            if !connection.is_owed(&job.group, job.number) {
                continue;
            }
            if job.number > forced && connection.is_full() && !connection.has_ended() {
                return CaughtUp { all: false, deliveries };
            }
            connection.note_served(&job.group, job.number);
            let Some(form) = job.parcel.form(&class) else { continue };
            deliveries += 1;
            let mut sum = job.sum.get();
            sum.note(hand_over(connection, form, &job.parcel));
            job.sum.set(sum);
        }
        connection.note_all_served(last);
        CaughtUp { all: true, deliveries }
    }

    /// As [`catch_up`](Self::catch_up), where nothing may be lost.
    pub(crate) fn catch_up_one(&self, key: Key) {
        if let Some(connection) = self.connection(key) {
            self.catch_up(&connection, 0);
        }
    }

    /// Hands the members of a group that is not large all they are owed, but those whose inboxes are full.
    pub(super) fn catch_up_group(&self, group: &GroupName) {
        let groups = self.groups.borrow();
        let Some(local) = groups.get(group).filter(|local| !local.is_large()) else { return };
        for (_, member) in local.members() {
            self.catch_up(member, 0);
        }
    }

    /// Walks one slice. Returns the jobs that are done, to be dropped while nothing is borrowed.
    fn slice(&self) -> Vec<Job> {
        let slices = &self.slices;
        let Some(mut walk) = slices.walks.borrow_mut().pop_front() else { return Vec::new() };
        let mut done = Vec::new();
        if walk.go_on(self) {
            done = self.take_jobs(&walk.group, walk.until.min(walk.floor));
            let oldest =
                slices.jobs.borrow().iter().find(|job| job.group == walk.group).map(|job| job.number);
            let Some(oldest) = oldest else { return done };
            walk.begin_pass(self, oldest, !done.is_empty());
        }
        slices.walks.borrow_mut().push_back(walk);
        done
    }

    /// Takes the jobs of a group up to a number out.
    fn take_jobs(&self, group: &GroupName, until: u64) -> Vec<Job> {
        let is_done = |job: &Job| job.number <= until && job.group == *group;
        let mut jobs = self.slices.jobs.borrow_mut();
        let mut done = Vec::new();
        while jobs.front().is_some_and(is_done) {
            done.extend(jobs.pop_front());
        }
        if jobs.iter().any(is_done) {
            // Those of other groups stand between them, and keep their order.
            for _ in 0..jobs.len() {
                match jobs.pop_front() {
                    Some(job) if is_done(&job) => done.push(job),
                    other => jobs.extend(other),
                }
            }
        }
        self.slices.pending.set(jobs.len());
        done
    }

    /// Drops what is still owed: who waits for a reply learns that the worker is gone.
    pub(super) fn abandon(&self) {
        let jobs = self.slices.jobs.take();
        self.slices.walks.take();
        self.slices.pending.set(0);
        drop(jobs);
    }
}

impl LocalGroup {
    /// Whether its members are served in slices.
    pub(super) fn is_large(&self) -> bool {
        self.classes.iter().map(|members| members.connections.len()).sum::<usize>() > LARGE
    }
}

impl Walk {
    fn new(group: GroupName, until: u64, since: u64) -> Self {
        Self { group, class: 0, slot: 0, until, floor: u64::MAX, forced: 0, since, deadline: None }
    }

    /// Serves the next members; true where the pass is at its end.
    fn go_on(&mut self, hub: &Hub) -> bool {
        let groups = hub.groups.borrow();
        let Some(local) = groups.get(&self.group) else { return true };
        let mut left = SLICE;
        // Classes stand in the order of their numbers, also where some have gone since the last slice.
        let class = self.class;
        for members in local.classes.iter().filter(|members| members.number >= class) {
            if members.number > self.class {
                (self.class, self.slot) = (members.number, 0);
            }
            while self.slot < members.connections.capacity() {
                if left == 0 {
                    return false;
                }
                let deliveries = members.connections.get(self.slot).map_or(0, |one| self.serve(hub, one));
                left = left.saturating_sub(deliveries.max(1));
                self.slot += 1;
            }
        }
        true
    }

    /// Brings one member up to date, and says how many deliveries that took.
    fn serve(&mut self, hub: &Hub, member: &Rc<Connection>) -> usize {
        let mut caught = hub.catch_up(member, self.forced);
        let mut deliveries = caught.deliveries;
        if !caught.all && !member.may_make_room(self.since) {
            caught = hub.catch_up(member, self.until);
            deliveries += caught.deliveries;
        }
        if !caught.all {
            self.floor = self.floor.min(member.served_of(&self.group));
        }
        deliveries
    }

    /// Begins anew at the first member, for the jobs that came in between and for the members that were full.
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
        (self.class, self.slot) = (0, 0);
        self.until = hub.last_job();
        self.floor = u64::MAX;
        self.since = hub.next_pass();
    }
}

/// Puts an event into a connection's outbox or inbox; false where it did not go. No user code.
pub(super) fn hand_over(connection: &Rc<Connection>, form: &Form, parcel: &Parcel) -> bool {
    match form {
        Form::Failed => false,
        Form::Frame(bytes) => connection.relay(bytes.clone()),
        Form::Handler => connection.take_event(parcel.envelope.clone()),
    }
}

/// Walks as long as there is something to walk for.
pub(super) async fn walk(hub: Rc<Hub>) {
    loop {
        poll_fn(|cx| {
            if hub.has_pending() {
                return Poll::Ready(());
            }
            *hub.slices.walker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        for mut job in hub.slice() {
            if let Some(reply) = job.reply.take() {
                // Who asked may have gone.
                let _ = reply.send(job.sum.get());
            }
            // An event whose drop panics must not end the walk for everybody.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
        }
        // The slice is written before the next begins, so that no more than one stands before what others send.
        yield_pass().await;
        // And what came in meanwhile is read: a task that only wakes itself would leave that to chance.
        tokio::task::yield_now().await;
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
