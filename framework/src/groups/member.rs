//! A connection as groups see it: the [`Member`] trait, and the list of its memberships.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use smallvec::SmallVec;

use super::{
    budget::Ledger,
    error::LayerError,
    fan_out::{Class, Form, Parcel},
    history::{log::Log, lost::LostReason, position::Position},
    key::Key,
};
use crate::{ChannelName, Envelope, GroupName, wire::Packet};

/// A connection, as its hub and its groups see it.
///
/// No method runs user code or drops a user's value: hubs call them while their tables are borrowed. The exceptions are
/// [`give_way`](Self::give_way) and [`shut_down`](Self::shut_down), which hubs call with nothing borrowed.
pub(crate) trait Member {
    // --- identity and state ---

    fn key(&self) -> Key;

    fn class(&self) -> &Class;

    /// The groups that the member is in. Only the hub changes them.
    fn memberships(&self) -> &Memberships;

    /// How many groups the member may be in.
    fn max_groups(&self) -> usize;

    /// Whether nothing can be sent to it any more.
    fn has_ended(&self) -> bool;

    /// The number of the drain that counts this connection.
    fn drain_id(&self) -> u64;

    // --- delivery ---

    /// Takes the bytes of a relayed event. False if they were refused.
    fn relay(&self, packet: Packet) -> bool;

    /// Takes an event for its handler. False if the event was refused.
    fn take_event(&self, envelope: Envelope) -> bool;

    /// Whether the inbox is full.
    fn is_full(&self) -> bool;

    /// Whether the member may take events out of its full inbox in the next pass.
    ///
    /// A member with a suspended hook may not. But if the hook has run after the pass `since`, it may be about to end, and
    /// the answer is yes.
    fn may_make_room(&self, since: u64) -> bool;

    /// Changes the count of sends of this member's hook that wait for room.
    fn note_sending(&self, by: isize);

    // --- history ---

    /// Whether the client is told its place in each log. Then it is told where it begins before it gets anything.
    fn is_told_places(&self) -> bool;

    /// Whether this is one of the channels that an entry leaves out, now or before the client came back. They are sorted.
    fn is_left_out(&self, left_out: &[ChannelName]) -> bool;

    /// Whether an earlier connection of the client is one of these channels, which are sorted.
    fn was_one_of(&self, left_out: &[ChannelName]) -> bool;

    /// Takes an entry of a log, if there is room for it.
    fn take_logged(&self, form: &Form, envelope: &Envelope, alias: u32, position: Position) -> Taken;

    /// Ends the connection, because its client has come back on another one.
    fn supersede(&self);

    /// Takes an event of a group with a log that is in no log: the number of the log, and the event's mark.
    fn take_foreign(&self, envelope: Envelope, alias: u32, mark: f64) -> bool;

    /// Tells the client that it has joined a group with a log, and where it begins. Then it gets what comes.
    fn introduce(&self, log: &Arc<Log>);

    /// Tells the client and the consumer that entries may be missing, and where the member goes on.
    fn note_lost(&self, log: &Arc<Log>, reason: LostReason, from: Position);

    // --- upkeep ---

    /// Writes the frames that came since the last flush, or wakes the task that writes them.
    fn flush(&self);

    /// Has the connection look at its deadlines.
    fn look_due(&self);

    /// How many bytes wait for the client or for its consumer, if they count in `ledger`.
    fn held_of(&self, ledger: &Ledger) -> usize;

    /// Closes the connection, because all outboxes together hold too much.
    fn give_way(&self);

    /// Closes the connection, because the server shuts down.
    fn shut_down(&self);
}

/// Whether a member took an entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// It has no room, and gets the entry later.
    Full,
    /// It has ended.
    Ended,
}

/// Puts an event into a member's outbox or inbox. False if the member refused it, or the relay failed.
pub(super) fn hand_over(member: &dyn Member, form: &Form, parcel: &Parcel) -> bool {
    match form {
        Form::Failed => false,
        Form::Packet(packet) => member.relay(packet.clone()),
        Form::Handler => member.take_event(parcel.envelope.clone()),
        Form::Foreign(alias, mark) => member.take_foreign(parcel.envelope.clone(), *alias, *mark),
    }
}

/// The groups of one member.
#[derive(Debug, Default)]
pub(crate) struct Memberships(RefCell<SmallVec<[Membership; 1]>>);

/// One membership.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) group: GroupName,
    /// The member's place in the list of its class.
    place: u32,
    /// Whether the member is behind in the log of the group.
    is_behind: bool,
    /// The number of the last large send that the member has got, or that came before it joined.
    served: u64,
}

impl Membership {
    /// The member's place in the list of its class.
    pub(super) fn place(&self) -> usize {
        self.place as usize
    }
}

impl Memberships {
    /// Whether the member is not in `group` yet. An error if it is in as many groups as allowed.
    pub(super) fn may_join(&self, group: &GroupName, limit: usize) -> Result<bool, LayerError> {
        let memberships = self.0.borrow();
        if memberships.iter().any(|membership| membership.group == *group) {
            return Ok(false);
        }
        if memberships.len() >= limit { Err(LayerError::TooManyGroups { limit }) } else { Ok(true) }
    }

    /// Adds a membership. The member is owed only large sends with a number above `served`.
    pub(super) fn add(&self, group: GroupName, place: usize, served: u64) {
        self.0.borrow_mut().push(Membership { group, place: place as u32, is_behind: false, served });
    }

    /// Notes that the member stands at another place in the list of a group.
    pub(super) fn moved(&self, group: &GroupName, place: usize) {
        let mut memberships = self.0.borrow_mut();
        if let Some(membership) = memberships.iter_mut().find(|membership| membership.group == *group) {
            membership.place = place as u32;
        }
    }

    /// Ends a membership, and returns the member's place in the group's list.
    pub(super) fn remove(&self, group: &GroupName) -> Option<usize> {
        let mut memberships = self.0.borrow_mut();
        let at = memberships.iter().position(|membership| membership.group == *group)?;
        Some(memberships.swap_remove(at).place())
    }

    /// Notes whether the member is behind in the log of a group.
    pub(super) fn set_behind(&self, group: &GroupName, is_behind: bool) {
        let mut memberships = self.0.borrow_mut();
        if let Some(membership) = memberships.iter_mut().find(|membership| membership.group == *group) {
            membership.is_behind = is_behind;
        }
    }

    /// Whether the member is behind in the log of a group.
    pub(super) fn is_behind(&self, group: &GroupName) -> bool {
        let memberships = self.0.borrow();
        memberships.iter().any(|membership| membership.group == *group && membership.is_behind)
    }

    /// Whether the member is in a group.
    pub(crate) fn is_in(&self, group: &GroupName) -> bool {
        self.0.borrow().iter().any(|membership| membership.group == *group)
    }

    /// The groups of the member.
    pub(crate) fn groups(&self) -> Vec<GroupName> {
        self.0.borrow().iter().map(|membership| membership.group.clone()).collect()
    }

    /// Ends all memberships.
    pub(super) fn take(&self) -> SmallVec<[Membership; 1]> {
        self.0.take()
    }

    /// The number of the large send up to which the member has got those of all its groups.
    pub(super) fn served(&self) -> u64 {
        self.0.borrow().iter().map(|membership| membership.served).min().unwrap_or(u64::MAX)
    }

    /// The number of the large send up to which the member has got those of one group.
    pub(super) fn served_of(&self, group: &GroupName) -> u64 {
        let memberships = self.0.borrow();
        let membership = memberships.iter().find(|membership| membership.group == *group);
        membership.map_or(u64::MAX, |membership| membership.served)
    }

    /// Whether the member joined before a large send, and has not got it.
    pub(super) fn is_owed(&self, group: &GroupName, send: u64) -> bool {
        self.served_of(group) < send
    }

    /// Notes that the member gets a large send of one group. False if it was not owed that send.
    pub(super) fn take_owed(&self, group: &GroupName, send: u64) -> bool {
        let mut memberships = self.0.borrow_mut();
        let membership = memberships.iter_mut().find(|membership| membership.group == *group);
        let Some(membership) = membership.filter(|membership| membership.served < send) else { return false };
        membership.served = send;
        true
    }

    /// Notes that the member has got the large sends of one group, up to `send`.
    pub(super) fn note_served(&self, group: &GroupName, send: u64) {
        let mut memberships = self.0.borrow_mut();
        if let Some(membership) = memberships.iter_mut().find(|membership| membership.group == *group) {
            membership.served = send;
        }
    }

    /// Notes that the member has got the large sends of all its groups, up to `send`.
    pub(super) fn note_all_served(&self, send: u64) {
        for membership in self.0.borrow_mut().iter_mut() {
            membership.served = send;
        }
    }
}

/// The members of one class in one group.
///
/// The list has no gaps, so the cost of a send depends only on how many members there are now.
#[derive(Default)]
pub(super) struct MemberList(Vec<Rc<dyn Member>>);

impl MemberList {
    /// A list with room for more places than this gives memory back when it has become short.
    const WORTH_SHRINKING: usize = 64;

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Rc<dyn Member>> {
        self.0.iter()
    }

    pub(super) fn get(&self, place: usize) -> Option<&Rc<dyn Member>> {
        self.0.get(place)
    }

    /// Adds a member and returns its place.
    pub(super) fn push(&mut self, member: Rc<dyn Member>) -> usize {
        self.0.push(member);
        self.0.len() - 1
    }

    /// Takes the member with this key out, which stands at `place`. False if another one stands there.
    ///
    /// A walk has served the members in front of `next`, and these stay in front: the last of them takes the free place,
    /// and the last member of the list takes the place of that one.
    pub(super) fn remove(&mut self, group: &GroupName, place: usize, key: Key, next: &mut usize) -> bool {
        if self.0.get(place).is_none_or(|known| known.key() != key) {
            return false;
        }
        let mut free = place;
        if place < *next {
            *next -= 1;
            free = *next;
            if free != place {
                self.0.swap(place, free);
                self.0[place].memberships().moved(group, place);
            }
        }
        self.0.swap_remove(free);
        if let Some(moved) = self.0.get(free) {
            moved.memberships().moved(group, free);
        }
        if self.0.capacity() > Self::WORTH_SHRINKING && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        true
    }
}
