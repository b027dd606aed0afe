//! Large sends: events for large groups, which are served in slices.
//!
//! After each slice the other connections of the thread get a turn.
//!
//! A send to a large group becomes a [`LargeSend`] with a number. The [`walk`](super::walk) goes through the members, a
//! slice at a time, and brings each member *up to date*: the member gets all large sends of its groups that it has not
//! got yet, in the order of their numbers. Before anything else goes into the queues of a connection, the connection is
//! brought up to date too, so the order of the calls holds. A membership knows the number of the last large send that
//! it was served. It knows that from its start on, so a member that joins or leaves during a walk is neither skipped
//! nor served twice.

use std::{
    cell::{Cell, Ref, RefCell},
    collections::VecDeque,
    sync::Arc,
    task::Waker,
};

use smallvec::SmallVec;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    Delivery,
    behind::{Behind, Hold},
    fan_out::{Class, Form, Parcel},
    history::{entry::Entry, log::Log, position::Position},
    key::Key,
    member::{Member, Taken, hand_over},
};
use crate::GroupName;

/// The large sends of a hub that some members have not got yet.
#[derive(Default)]
pub(super) struct Slices {
    /// In the order of their numbers.
    sends: RefCell<VecDeque<LargeSend>>,
    /// How many large sends there are. While this is 0, nothing else in this type is looked at.
    pending: Cell<usize>,
    /// The number of the last large send.
    last: Cell<u64>,
    /// One walk for each group with a large send. The walks take turns.
    pub(super) walks: RefCell<VecDeque<Walk>>,
    /// The task that walks.
    pub(super) walker: RefCell<Option<Waker>>,
    /// The members that are behind in a log, and are not served by a walk.
    pub(super) behind: Behind,
}

/// One event for one large group.
///
/// It may hold the last handle of a user's event, so it is dropped only while the hub is not borrowed.
pub(super) struct LargeSend {
    number: u64,
    group: GroupName,
    parcel: Parcel,
    /// The members that are left out, and whose memberships do not say so. Sorted. [`Hub::start_large`] says which.
    ///
    /// [`Hub::start_large`]: super::hub::Hub::start_large
    except: SmallVec<[Key; 1]>,
    /// The log and the entry, if the group has a log.
    logged: Option<Logged>,
    pub(super) sum: Cell<Delivery>,
    /// Gets the result. The send belongs to the hub, so all members get the event even if the sender gives up.
    pub(super) reply: Option<oneshot::Sender<Delivery>>,
    /// Room in the hub's queue, held until all members have the event.
    _room: Option<OwnedSemaphorePermit>,
}

/// An entry of a log on its way to the members of a large group.
pub(super) struct Logged {
    pub(super) log: Arc<Log>,
    pub(super) entry: Arc<Entry>,
    /// The place of the members that have not got it.
    pub(super) before: Position,
}

/// The way through the members of one group, pass after pass, until nothing is owed.
///
/// A pass takes the classes in the order of their numbers, and the members of a class from the first to the last.
pub(super) struct Walk {
    pub(super) group: GroupName,
    /// The number of the class that is next.
    pub(super) class: u32,
    /// The place of the member of that class that is next. The members in front of it were served.
    pub(super) next: usize,
    /// The number of the last send when the pass began. At the end of the pass, all sends up to it are done.
    pub(super) until: u64,
    /// Sends above this number are still owed to a member whose inbox is full.
    pub(super) floor: u64,
    /// Full members lose the sends up to this number: the walk has waited for them long enough.
    pub(super) forced: u64,
    /// The number of the hub's pass when this pass began. A connection that has not run since then is suspended.
    pub(super) since: u64,
    pub(super) deadline: Option<Instant>,
}

/// The result of bringing a connection up to date.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaughtUp {
    /// Whether the connection got all that it was owed. If not, its inbox is full.
    pub(super) all: bool,
    /// How many deliveries this took.
    pub(super) deliveries: usize,
}

impl Slices {
    /// Whether there is a large send that some members have not got yet.
    pub(super) fn has_pending(&self) -> bool {
        self.pending.get() > 0
    }

    /// How many large sends some members have not got yet.
    #[cfg(feature = "testing")]
    pub(super) fn pending(&self) -> usize {
        self.pending.get()
    }

    /// The number of the last large send. A member that joins now is owed only later ones.
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Adds a large send: the members of its group but `except` are owed an event from now on. `pass` is the hub's.
    pub(super) fn start(&self, send: LargeSend, pass: u64) {
        let (number, group) = (send.number, &send.group);
        self.last.set(number);
        let mut walks = self.walks.borrow_mut();
        match walks.iter_mut().find(|walk| walk.group == *group) {
            // A pass that has not begun yet serves this event too.
            Some(walk) if walk.is_at_start() => walk.until = number,
            Some(_) => {}
            None => walks.push_back(Walk::new(group.clone(), number, pass)),
        }
        self.sends.borrow_mut().push_back(send);
        self.pending.set(self.pending.get() + 1);
        if let Some(walker) = self.walker.take() {
            walker.wake();
        }
    }

    /// Hands a connection all large sends that it is owed.
    ///
    /// If the inbox is full, the sends up to the number `forced` are lost. A later send stays owed, and ends the call.
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
            if send.leaves_out(member) {
                memberships.note_served(&send.group, send.number);
                continue;
            }
            // A member of a group with a log gets it later from there.
            let waits = send.logged.is_none();
            if waits && send.number > forced && member.is_full() && !member.has_ended() {
                return CaughtUp { all: false, deliveries };
            }
            memberships.note_served(&send.group, send.number);
            let form = send.parcel.form(member.class());
            deliveries += usize::from(send.hand_over(member, form, &self.behind));
        }
        memberships.note_all_served(last);
        CaughtUp { all: true, deliveries }
    }

    /// The large send of this group, if this hub has no other, and nobody must be looked for to be left out.
    ///
    /// Then no member is owed anything else, and a walk can serve a member without a look at all its memberships.
    pub(super) fn only_send(&self, group: &GroupName) -> Option<Ref<'_, LargeSend>> {
        let sends = self.sends.borrow();
        let is_only = sends.len() == 1 && sends[0].group == *group && sends[0].except.is_empty();
        is_only.then(|| Ref::map(sends, |sends| &sends[0]))
    }

    /// The number of the oldest large send of a group.
    pub(super) fn oldest_of(&self, group: &GroupName) -> Option<u64> {
        self.sends.borrow().iter().find(|send| send.group == *group).map(|send| send.number)
    }

    /// Takes out the large sends of a group, up to a number.
    pub(super) fn take(&self, group: &GroupName, until: u64) -> Vec<LargeSend> {
        let is_done = |send: &LargeSend| send.number <= until && send.group == *group;
        let mut sends = self.sends.borrow_mut();
        let mut done = Vec::new();
        while sends.front().is_some_and(is_done) {
            done.extend(sends.pop_front());
        }
        if sends.iter().any(is_done) {
            // Sends to other groups stand between these, and must keep their order.
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

    /// Drops all large sends. A sender that waits for a reply learns that the thread is gone.
    pub(super) fn abandon(&self) {
        let sends = self.sends.take();
        self.walks.take();
        self.pending.set(0);
        drop(sends);
    }

    /// How many members the first send of all has reached, until it is done, and how many sends there are.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn progress(&self) -> (Option<u64>, usize) {
        let sends = self.sends.borrow();
        let first = sends.front().filter(|send| send.number == 1);
        (first.map(|send| send.sum.get().delivered), sends.len())
    }
}

impl LargeSend {
    pub(super) fn new(
        number: u64,
        group: GroupName,
        parcel: Parcel,
        except: SmallVec<[Key; 1]>,
        logged: Option<Logged>,
        reply: Option<oneshot::Sender<Delivery>>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { number, group, parcel, except, logged, sum: Cell::default(), reply, _room: room }
    }

    /// Hands the event to a member. Returns false if the member gets nothing, or not now.
    fn hand_over(&self, member: &dyn Member, form: Option<&Form>, behind: &Behind) -> bool {
        if self.logged.as_ref().is_some_and(|logged| logged.leaves_out(member)) {
            return false;
        }
        let taken = match (&self.logged, form) {
            (Some(logged), form) => logged.hand_over(member, form, behind),
            (None, Some(form)) => hand_over(member, form, &self.parcel),
            (None, None) => return false,
        };
        let mut sum = self.sum.get();
        sum.note(taken);
        self.sum.set(sum);
        true
    }

    /// What the members of a class get.
    pub(super) fn form(&self, class: &Class) -> Option<&Form> {
        self.parcel.form(class)
    }

    fn leaves_out(&self, member: &dyn Member) -> bool {
        !self.except.is_empty() && self.except.binary_search(&member.key()).is_ok()
    }

    /// Hands the event to a member with room in its inbox, if it is owed. Returns how many deliveries that took.
    pub(super) fn serve(&self, member: &dyn Member, form: Option<&Form>, behind: &Behind) -> usize {
        if !member.memberships().take_owed(&self.group, self.number) {
            return 0;
        }
        usize::from(self.hand_over(member, form, behind))
    }
}

impl Logged {
    /// Whether the entry leaves out an earlier connection of a member's client. `except` knows only those of now.
    pub(super) fn leaves_out(&self, member: &dyn Member) -> bool {
        let left_out = &self.entry.left_out;
        !left_out.is_empty() && member.was_one_of(left_out)
    }

    /// Hands the entry to a member that has got all before it. A member without room is behind from now on.
    ///
    /// True if the member has the entry, or will get it.
    pub(super) fn hand_over(&self, member: &dyn Member, form: Option<&Form>, behind: &Behind) -> bool {
        if !behind.is_empty() && member.memberships().is_behind(&self.log.group) {
            return true;
        }
        let Self { log, entry, before } = self;
        let Some(form) = form else {
            // The first of its class, which joined after the bytes were made.
            behind.put(member, log, Some(*before), Hold::Free);
            return true;
        };
        match member.take_logged(form, &entry.envelope, log.alias, entry.position) {
            Taken::Yes => true,
            Taken::Full => {
                behind.put(member, log, Some(*before), Hold::Room);
                true
            }
            Taken::Ended => false,
        }
    }
}

impl Walk {
    fn new(group: GroupName, until: u64, since: u64) -> Self {
        Self { group, class: 0, next: 0, until, floor: u64::MAX, forced: 0, since, deadline: None }
    }

    fn is_at_start(&self) -> bool {
        (self.class, self.next) == (0, 0)
    }
}
