//! The names that this process has in its groups, and which of them Redis may know.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use crate::{ChannelName, GroupName};

/// The names of this process in each group: one for all members, or one for each. It belongs to the driver's
/// thread.
#[derive(Debug, Default)]
pub(super) struct Told(RefCell<HashMap<GroupName, HashMap<ChannelName, ToldName>>>);

#[derive(Debug, Clone, Copy)]
struct ToldName {
    is_in: bool,
    /// Whether Redis may have the name.
    ///
    /// A name that left stays in this table until Redis has confirmed that it was taken out. If Redis has a
    /// name of this process that is not in the table, another program has put the consumer into the group.
    told: bool,
    /// How many requests to take the name out Redis has not answered yet.
    leaving: u32,
    /// Since when Redis has refused the name for now, if it has.
    refused: Option<Instant>,
}

/// What Redis must be told of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Join,
    Leave,
    Nothing,
}

impl Told {
    /// Notes that a member has joined or left. If Redis is away, the next connection tells it.
    pub(super) fn note(&self, group: &GroupName, name: &ChannelName, is_in: bool, is_there: bool) -> Tell {
        let mut groups = self.0.borrow_mut();
        if is_in {
            let new = ToldName { is_in, told: false, leaving: 0, refused: None };
            let member = groups.entry(group.clone()).or_default().entry(name.clone()).or_insert(new);
            member.is_in = true;
            member.told |= is_there;
            return if is_there { Tell::Join } else { Tell::Nothing };
        }
        let Some(members) = groups.get_mut(group) else { return Tell::Nothing };
        let Some(member) = members.get_mut(name) else { return Tell::Nothing };
        member.is_in = false;
        if member.told {
            member.leaving += u32::from(is_there);
            return if is_there { Tell::Leave } else { Tell::Nothing };
        }
        members.remove(name);
        if members.is_empty() {
            groups.remove(group);
        }
        Tell::Nothing
    }

    /// Notes the answer of Redis to a request to put names in. `refused` says whether it may do so later.
    ///
    /// If Redis has taken names that it had refused, returns how long that was ago.
    pub(super) fn joined(&self, group: &GroupName, names: &[ChannelName], refused: bool) -> Option<Duration> {
        let mut groups = self.0.borrow_mut();
        let members = groups.get_mut(group)?;
        let mut longest = None;
        for name in names {
            let Some(member) = members.get_mut(name) else { continue };
            if refused {
                member.refused.get_or_insert_with(Instant::now);
            } else {
                longest = longest.max(member.refused.take().map(|since| since.elapsed()));
            }
        }
        longest
    }

    /// The members that Redis has refused for now, in pieces of at most `at_once` names.
    pub(super) fn refused(&self, at_once: usize) -> Vec<Piece> {
        self.pieces(at_once, |_| true, |member| member.is_in && member.refused.is_some())
    }

    /// Notes the answer of Redis to a request to take names out. `done` says whether it has.
    pub(super) fn left(&self, group: &GroupName, names: &[ChannelName], done: bool) {
        let mut groups = self.0.borrow_mut();
        let Some(members) = groups.get_mut(group) else { return };
        for name in names {
            if let Entry::Occupied(mut member) = members.entry(name.clone()) {
                let left = member.get_mut();
                left.leaving = left.leaving.saturating_sub(1);
                if done && !left.is_in && left.leaving == 0 {
                    member.remove();
                }
            }
        }
        if members.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether a name is a member in this process, or was one a moment ago.
    pub(super) fn has(&self, group: &GroupName, name: &str) -> bool {
        self.0.borrow().get(group).is_some_and(|members| members.contains_key(name))
    }

    /// Whether a name is a member in this process now.
    pub(super) fn is_in(&self, group: &GroupName, name: &str) -> bool {
        self.0.borrow().get(group).and_then(|members| members.get(name)).is_some_and(|member| member.is_in)
    }

    /// The groups that have members in this process.
    pub(super) fn groups(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<GroupName> {
        let groups = self.0.borrow();
        let here = groups.iter().filter(|(_, members)| members.values().any(|member| member.is_in));
        here.map(|(group, _)| group).filter(|group| wanted(group)).cloned().collect()
    }

    /// The members of all wanted groups, in pieces of at most `at_once` names.
    pub(super) fn members(&self, at_once: usize, wanted: impl Fn(&GroupName) -> bool) -> Vec<Piece> {
        self.pieces(at_once, wanted, |member| member.is_in)
    }

    /// All names that Redis may have, whether they are members or not.
    pub(super) fn all_told(&self, at_once: usize, wanted: impl Fn(&GroupName) -> bool) -> Vec<Piece> {
        self.pieces(at_once, wanted, |member| member.told)
    }

    /// The names that have left, and that Redis may still have.
    pub(super) fn leaving(&self, at_once: usize, wanted: impl Fn(&GroupName) -> bool) -> Vec<Piece> {
        self.pieces(at_once, wanted, |member| !member.is_in)
    }

    /// Keeps the names of a piece that are members, and notes that Redis is told.
    pub(super) fn tell(&self, mut piece: Piece) -> Piece {
        let mut groups = self.0.borrow_mut();
        let mut members = groups.get_mut(&piece.group);
        piece.names.retain(|name| {
            let member =
                members.as_mut().and_then(|members| members.get_mut(name)).filter(|member| member.is_in);
            member.map(|member| member.told = true).is_some()
        });
        piece
    }

    /// Keeps the names of a piece that have left.
    ///
    /// Notes that Redis is asked to take them out.
    pub(super) fn take_out(&self, mut piece: Piece) -> Piece {
        let mut groups = self.0.borrow_mut();
        let mut members = groups.get_mut(&piece.group);
        piece.names.retain(|name| {
            let member =
                members.as_mut().and_then(|members| members.get_mut(name)).filter(|member| !member.is_in);
            member.map(|member| member.leaving += 1).is_some()
        });
        piece
    }

    fn pieces(
        &self,
        at_once: usize,
        wanted: impl Fn(&GroupName) -> bool,
        which: impl Fn(&ToldName) -> bool,
    ) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (group, members) in self.0.borrow().iter().filter(|(group, _)| wanted(group)) {
            let those = members.iter().filter(|(_, member)| which(member));
            let names: Vec<ChannelName> = those.map(|(name, _)| name.clone()).collect();
            let pieces_of_group = names.chunks(at_once);
            pieces.extend(pieces_of_group.map(|some| Piece { group: group.clone(), names: some.to_vec() }));
        }
        pieces
    }
}

/// Some names of a group.
#[derive(Debug)]
pub(in crate::layers) struct Piece {
    pub(super) group: GroupName,
    pub(super) names: Vec<ChannelName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (GroupName, ChannelName) {
        (GroupName::new("room").unwrap(), ChannelName::new("specific.x!1.0.1").unwrap())
    }

    #[test]
    fn a_name_is_kept_until_redis_has_taken_it_out() {
        let (told, (room, name)) = (Told::default(), names());
        assert_eq!(told.note(&room, &name, true, true), Tell::Join);
        assert_eq!(told.note(&room, &name, false, true), Tell::Leave);
        assert!(told.has(&room, &name) && !told.is_in(&room, &name));
        // The member joins and leaves once more before the first answer.
        assert_eq!(told.note(&room, &name, true, true), Tell::Join);
        assert_eq!(told.note(&room, &name, false, true), Tell::Leave);
        let asked = std::slice::from_ref(&name);
        told.left(&room, asked, true);
        assert!(told.has(&room, &name), "the second request is not answered yet");
        told.left(&room, asked, true);
        assert!(told.0.borrow().is_empty());
    }

    #[test]
    fn a_name_that_redis_never_had_is_not_kept() {
        let (told, (room, name)) = (Told::default(), names());
        assert_eq!(told.note(&room, &name, true, false), Tell::Nothing);
        assert_eq!(told.members(10, |_| true).len(), 1);
        assert_eq!(told.all_told(10, |_| true).len(), 0);
        assert_eq!(told.note(&room, &name, false, false), Tell::Nothing);
        assert!(told.0.borrow().is_empty());
    }

    #[test]
    fn a_member_that_leaves_while_redis_is_away_is_taken_out_later() {
        let (told, (room, name)) = (Told::default(), names());
        told.note(&room, &name, true, true);
        assert_eq!(told.note(&room, &name, false, false), Tell::Nothing);
        assert!(told.groups(|_| true).is_empty());
        for (done, has) in [(false, true), (true, false)] {
            let leaving = told.take_out(told.leaving(10, |_| true).remove(0));
            assert_eq!(leaving.names, std::slice::from_ref(&name));
            told.left(&room, &leaving.names, done);
            assert_eq!(told.has(&room, &name), has, "after the answer {done}");
        }
        assert!(told.0.borrow().is_empty());
    }
}
