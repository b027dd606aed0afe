//! What groups know of a connection: the [`Member`] trait, and its list of memberships.

use std::{cell::RefCell, rc::Rc};

use smallvec::SmallVec;

use super::{
    budget::Ledger,
    error::LayerError,
    fan_out::{Class, Form, Parcel},
    key::Key,
};
use crate::{Envelope, GroupName, wire::Packet};

/// A connection, as its hub and its groups see it.
///
/// No method runs user code or drops a user's value: hubs call them while their tables are borrowed. The exceptions are
/// [`give_way`](Self::give_way) and [`shut_down`](Self::shut_down), which hubs call with nothing borrowed.
pub(crate) trait Member {
    // --- identity and state ---

    fn key(&self) -> Key;

    fn class(&self) -> &Class;

    /// The groups that it is in. Only the hub changes them.
    fn memberships(&self) -> &Memberships;

    /// How many groups it may be in.
    fn max_groups(&self) -> usize;

    /// Whether nothing can be sent to it any more.
    fn has_ended(&self) -> bool;

    /// The number of the drain that counts it.
    fn drain_id(&self) -> u64;

    // --- delivery ---

    /// Takes the bytes of a relayed event; false if it does not.
    fn relay(&self, packet: Packet) -> bool;

    /// Takes an event for its handler; false if it does not.
    fn take_event(&self, envelope: Envelope) -> bool;

    /// Whether its inbox is full.
    fn is_full(&self) -> bool;

    /// Whether it may take events out of its full inbox in the next pass.
    ///
    /// A member whose hook is suspended may not, unless the hook ran `since` that pass: then it may be about to end.
    fn may_make_room(&self, since: u64) -> bool;

    /// Counts the sends of its hook that wait for room.
    fn note_sending(&self, by: isize);

    // --- upkeep ---

    /// Writes what has come since the last flush, or wakes the task that writes it.
    fn flush(&self);

    /// Asks for a look at the deadlines.
    fn look_due(&self);

    /// How many bytes wait for its client, if they count in `ledger`.
    fn held_of(&self, ledger: &Ledger) -> usize;

    /// Closes it, because all outboxes together hold too much.
    fn give_way(&self);

    /// Closes it, because the server shuts down.
    fn shut_down(&self);
}

/// Puts an event into a member's outbox or inbox; false if it did not go.
pub(super) fn hand_over(member: &dyn Member, form: &Form, parcel: &Parcel) -> bool {
    match form {
        Form::Failed => false,
        Form::Packet(packet) => member.relay(packet.clone()),
        Form::Handler => member.take_event(parcel.envelope.clone()),
    }
}

/// The groups of one member.
#[derive(Debug, Default)]
pub(crate) struct Memberships(RefCell<SmallVec<[Membership; 1]>>);

/// One membership.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) group: GroupName,
    /// Its place in the list of the members of its class.
    pub(super) place: usize,
    /// The number of the last large send that it has got, or that came before it joined.
    served: u64,
}

impl Memberships {
    /// Whether `group` is new, and within the limit.
    pub(super) fn may_join(&self, group: &GroupName, limit: usize) -> Result<bool, LayerError> {
        let memberships = self.0.borrow();
        if memberships.iter().any(|membership| membership.group == *group) {
            return Ok(false);
        }
        if memberships.len() >= limit { Err(LayerError::TooManyGroups { limit }) } else { Ok(true) }
    }

    /// Adds a membership, to which no large send up to `served` is owed.
    pub(super) fn add(&self, group: GroupName, place: usize, served: u64) {
        self.0.borrow_mut().push(Membership { group, place, served });
    }

    /// Notes that the member stands at another place in the list of a group.
    pub(super) fn moved(&self, group: &GroupName, place: usize) {
        let mut memberships = self.0.borrow_mut();
        if let Some(membership) = memberships.iter_mut().find(|membership| membership.group == *group) {
            membership.place = place;
        }
    }

    /// Ends a membership, and returns the member's place in the group's list.
    pub(super) fn remove(&self, group: &GroupName) -> Option<usize> {
        let mut memberships = self.0.borrow_mut();
        let at = memberships.iter().position(|membership| membership.group == *group)?;
        Some(memberships.swap_remove(at).place)
    }

    /// Ends all memberships.
    pub(super) fn take(&self) -> SmallVec<[Membership; 1]> {
        self.0.take()
    }

    /// The large send up to which all groups are served.
    pub(super) fn served(&self) -> u64 {
        self.0.borrow().iter().map(|membership| membership.served).min().unwrap_or(u64::MAX)
    }

    /// The large send up to which one group is served.
    pub(super) fn served_of(&self, group: &GroupName) -> u64 {
        let memberships = self.0.borrow();
        let membership = memberships.iter().find(|membership| membership.group == *group);
        membership.map_or(u64::MAX, |membership| membership.served)
    }

    /// Whether the member joined before a large send, and has not got it.
    pub(super) fn is_owed(&self, group: &GroupName, send: u64) -> bool {
        self.served_of(group) < send
    }

    /// Notes that one group is served up to a large send, if it was owed it.
    pub(super) fn take_owed(&self, group: &GroupName, send: u64) -> bool {
        let mut memberships = self.0.borrow_mut();
        let membership = memberships.iter_mut().find(|membership| membership.group == *group);
        let Some(membership) = membership.filter(|membership| membership.served < send) else { return false };
        membership.served = send;
        true
    }

    /// Notes that one group is served up to a large send.
    pub(super) fn note_served(&self, group: &GroupName, send: u64) {
        let mut memberships = self.0.borrow_mut();
        if let Some(membership) = memberships.iter_mut().find(|membership| membership.group == *group) {
            membership.served = send;
        }
    }

    /// Notes that all groups are.
    pub(super) fn note_all_served(&self, send: u64) {
        for membership in self.0.borrow_mut().iter_mut() {
            membership.served = send;
        }
    }
}

/// The members of one class in one group: a list without gaps, so that a send costs only as much as the members that
/// are in it.
#[derive(Default)]
pub(super) struct MemberList(Vec<Rc<dyn Member>>);

impl MemberList {
    /// From how many places on a list that has become short gives its memory back.
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

    /// Takes the member with this key out, which stands at `place`; false if it does not.
    ///
    /// The last member moves to its place. A walk goes from the end to the start, so it does not miss that one.
    pub(super) fn remove(&mut self, group: &GroupName, place: usize, key: Key) -> bool {
        if self.0.get(place).is_none_or(|known| known.key() != key) {
            return false;
        }
        self.0.swap_remove(place);
        if let Some(moved) = self.0.get(place) {
            moved.memberships().moved(group, place);
        }
        if self.0.capacity() > Self::WORTH_SHRINKING && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        true
    }
}
