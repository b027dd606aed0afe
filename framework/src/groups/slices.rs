//! What large groups are still owed: fan-out in slices, between which the other connections of the thread get a turn.
//!
//! A send to a large group becomes a [`LargeSend`] with a number. The [`walk`](super::walk) goes through the members, a
//! slice at a time, and brings each member *up to date*: the member gets all large sends of its groups that it has not
//! got yet, in the order of their numbers. Everything else that puts something into a connection's queues brings the
//! connection up to date first, so the order of the calls holds. A membership knows the number up to which it was
//! served, from its start on. So a member that joins or leaves beside a walk is neither skipped nor served twice.

use std::{
    cell::{Cell, Ref, RefCell},
    collections::VecDeque,
    task::Waker,
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    Delivery,
    fan_out::{Class, Form, Parcel},
    member::{Member, hand_over},
};
use crate::GroupName;

/// What large groups of a hub are still owed.
#[derive(Default)]
pub(super) struct Slices {
    /// In the order of their numbers.
    sends: RefCell<VecDeque<LargeSend>>,
    /// How many there are: while there are none, nothing else in this type is looked at.
    pending: Cell<usize>,
    /// The number of the last one.
    last: Cell<u64>,
    /// One for each group that is owed something; they take turns.
    pub(super) walks: RefCell<VecDeque<Walk>>,
    /// The task that walks.
    pub(super) walker: RefCell<Option<Waker>>,
}

/// One event for one large group. Dropped only while the hub is not borrowed: it may hold the last of the event.
pub(super) struct LargeSend {
    number: u64,
    group: GroupName,
    parcel: Parcel,
    pub(super) sum: Cell<Delivery>,
    /// Says how far it got. It belongs to the hub and not to the sender, so a sender that gives up leaves no half.
    pub(super) reply: Option<oneshot::Sender<Delivery>>,
    /// Its bytes count in the hub's queue until all members have them.
    _room: OwnedSemaphorePermit,
}

/// A way through the members of one group, pass after pass until nothing is owed.
///
/// A pass takes the classes in the order of their numbers, and the members of a class from the last to the first.
pub(super) struct Walk {
    pub(super) group: GroupName,
    /// The number of the class that is next.
    pub(super) class: u32,
    /// How many members of that class are left. More than there are: none was served yet.
    pub(super) left: usize,
    /// The last send when the pass began: at the end of the pass all up to it are done.
    pub(super) until: u64,
    /// A member with a full inbox is still owed the sends above this number.
    pub(super) floor: u64,
    /// Up to this send full members lose what they have no room for: they were waited for long enough.
    pub(super) forced: u64,
    /// The hub's pass after the pass before: a connection that has not run since is suspended.
    pub(super) since: u64,
    pub(super) deadline: Option<Instant>,
}

/// How far a connection was brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaughtUp {
    /// Whether it has got all that it was owed. If not, its inbox is full.
    pub(super) all: bool,
    /// How many deliveries that took.
    pub(super) deliveries: usize,
}

impl Slices {
    /// Whether a large group is still owed something.
    pub(super) fn has_pending(&self) -> bool {
        self.pending.get() > 0
    }

    /// How many events are still to be handed to members.
    #[cfg(feature = "testing")]
    pub(super) fn pending(&self) -> usize {
        self.pending.get()
    }

    /// The number of the last large send: a member that joins now is owed nothing up to it.
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Owes the members of a group an event from now on. `pass` is the hub's.
    pub(super) fn start(
        &self,
        group: GroupName,
        parcel: Parcel,
        reply: Option<oneshot::Sender<Delivery>>,
        room: OwnedSemaphorePermit,
        pass: u64,
    ) {
        let number = self.last.get() + 1;
        self.last.set(number);
        let mut walks = self.walks.borrow_mut();
        match walks.iter_mut().find(|walk| walk.group == group) {
            // A walk that has not set out yet takes the event along.
            Some(walk) if walk.is_at_start() => walk.until = number,
            Some(_) => {}
            None => walks.push_back(Walk::new(group.clone(), number, pass)),
        }
        self.sends.borrow_mut().push_back(LargeSend {
            number,
            group,
            parcel,
            sum: Cell::default(),
            reply,
            _room: room,
        });
        self.pending.set(self.pending.get() + 1);
        if let Some(walker) = self.walker.take() {
            walker.wake();
        }
    }

    /// Hands a connection all that it is owed.
    ///
    /// A full inbox loses the sends up to the number `forced`; a later one stays owed, and ends the call.
    pub(super) fn catch_up(&self, member: &dyn Member, forced: u64) -> CaughtUp {
        let mut deliveries = 0;
        if !self.has_pending() {
            return CaughtUp { all: true, deliveries };
        }
        let memberships = member.memberships();
        let (last, served) = (self.last.get(), memberships.served());
        if served >= last {
            return CaughtUp { all: true, deliveries };
        }
        let sends = self.sends.borrow();
        let first = sends.partition_point(|send| send.number <= served);
        for send in sends.range(first..) {
            if !memberships.is_owed(&send.group, send.number) {
                continue;
            }
            if send.number > forced && member.is_full() && !member.has_ended() {
                return CaughtUp { all: false, deliveries };
            }
            memberships.note_served(&send.group, send.number);
            let Some(form) = send.parcel.form(member.class()) else { continue };
            deliveries += 1;
            let mut sum = send.sum.get();
            sum.note(hand_over(member, form, &send.parcel));
            send.sum.set(sum);
        }
        memberships.note_all_served(last);
        CaughtUp { all: true, deliveries }
    }

    /// What a class gets of the only send that this hub owes anybody, if there is just one and it is to this group.
    ///
    /// Then no member is owed anything else, and a walk can serve it without looking at all its memberships.
    pub(super) fn only_send(&self, group: &GroupName) -> Option<Ref<'_, LargeSend>> {
        let sends = self.sends.borrow();
        (sends.len() == 1 && sends[0].group == *group).then(|| Ref::map(sends, |sends| &sends[0]))
    }

    /// The number of the oldest send that a group is owed.
    pub(super) fn oldest_of(&self, group: &GroupName) -> Option<u64> {
        self.sends.borrow().iter().find(|send| send.group == *group).map(|send| send.number)
    }

    /// Takes the sends of a group up to a number out.
    pub(super) fn take(&self, group: &GroupName, until: u64) -> Vec<LargeSend> {
        let is_done = |send: &LargeSend| send.number <= until && send.group == *group;
        let mut sends = self.sends.borrow_mut();
        let mut done = Vec::new();
        while sends.front().is_some_and(is_done) {
            done.extend(sends.pop_front());
        }
        if sends.iter().any(is_done) {
            // Sends to other groups stand between them, and keep their order.
            for _ in 0..sends.len() {
                match sends.pop_front() {
                    Some(send) if is_done(&send) => done.push(send),
                    other => sends.extend(other),
                }
            }
        }
        self.pending.set(sends.len());
        done
    }

    /// Drops what is still owed: a sender that waits for a reply learns that the thread is gone.
    pub(super) fn abandon(&self) {
        let sends = self.sends.take();
        self.walks.take();
        self.pending.set(0);
        drop(sends);
    }

    /// How many members the oldest send has reached so far, and how many sends there are.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn progress(&self) -> (Option<u64>, usize) {
        let sends = self.sends.borrow();
        (sends.front().map(|send| send.sum.get().delivered), sends.len())
    }
}

impl LargeSend {
    /// What the members of a class get.
    pub(super) fn form(&self, class: &Class) -> Option<&Form> {
        self.parcel.form(class)
    }

    /// Hands it to a member with room in its inbox, unless that has it already; says how many deliveries that took.
    pub(super) fn serve(&self, member: &dyn Member, form: Option<&Form>) -> usize {
        if !member.memberships().take_owed(&self.group, self.number) {
            return 0;
        }
        let Some(form) = form else { return 0 };
        let mut sum = self.sum.get();
        sum.note(hand_over(member, form, &self.parcel));
        self.sum.set(sum);
        1
    }
}

impl Walk {
    fn new(group: GroupName, until: u64, since: u64) -> Self {
        Self { group, class: 0, left: usize::MAX, until, floor: u64::MAX, forced: 0, since, deadline: None }
    }

    fn is_at_start(&self) -> bool {
        (self.class, self.left) == (0, usize::MAX)
    }
}
