//! The names that this process has in its groups, and which of them Redis was told of.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use crate::{ChannelName, GroupName};

/// The names in each group: one for all members here, or that of each. It belongs to the layer's thread.
#[derive(Debug, Default)]
pub(super) struct Told(RefCell<HashMap<GroupName, HashMap<ChannelName, ToldName>>>);

#[derive(Debug, Clone, Copy)]
struct ToldName {
    is_in: bool,
    /// Whether Redis may have the name. One that left is kept until Redis has confirmed that it has not: a name of this
    /// process that is not here is a consumer that another program put into the group.
    told: bool,
    /// How many times Redis was asked to take it out, and has not answered.
    leaving: u32,
}

/// What Redis is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tell {
    Join,
    Leave,
    Nothing,
}

impl Told {
    /// Notes that a member has joined or left. Where Redis is not there, the next connection tells it.
    pub(super) fn note(&self, group: &GroupName, name: &ChannelName, is_in: bool, is_there: bool) -> Tell {
        let mut groups = self.0.borrow_mut();
        if is_in {
            let new = ToldName { is_in, told: false, leaving: 0 };
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

    /// Notes what Redis said to having been asked to take names out; `done` where it has.
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

    /// Whether a name is, or was just now, a member here, and not only in Redis.
    pub(super) fn has(&self, group: &GroupName, name: &str) -> bool {
        self.0.borrow().get(group).is_some_and(|members| members.contains_key(name))
    }

    /// Whether a name is a member here now.
    pub(super) fn is_in(&self, group: &GroupName, name: &str) -> bool {
        self.0.borrow().get(group).and_then(|members| members.get(name)).is_some_and(|member| member.is_in)
    }

    /// The groups that have members here.
    pub(super) fn groups(&self, wanted: impl Fn(&GroupName) -> bool) -> Vec<GroupName> {
        let groups = self.0.borrow();
        let here = groups.iter().filter(|(_, members)| members.values().any(|member| member.is_in));
        here.map(|(group, _)| group).filter(|group| wanted(group)).cloned().collect()
    }

    /// The members of all groups that are wanted, in pieces of at most so many.
    pub(super) fn members(&self, at_once: usize, wanted: impl Fn(&GroupName) -> bool) -> Vec<Piece> {
        self.pieces(at_once, wanted, |member| member.is_in)
    }

    /// Those of whom Redis may have the name, members or not.
    pub(super) fn all_told(&self, at_once: usize, wanted: impl Fn(&GroupName) -> bool) -> Vec<Piece> {
        self.pieces(at_once, wanted, |member| member.told)
    }

    /// Those who have left, and whose name Redis may still have.
    pub(super) fn leaving(&self, at_once: usize, wanted: impl Fn(&GroupName) -> bool) -> Vec<Piece> {
        self.pieces(at_once, wanted, |member| !member.is_in)
    }

    /// Notes that Redis is told of those of these that are members, and gives them.
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

    /// Notes that Redis is asked to take out those of these that have left, and gives them.
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
        // It comes and goes once more before the first answer.
        assert_eq!(told.note(&room, &name, true, true), Tell::Join);
        assert_eq!(told.note(&room, &name, false, true), Tell::Leave);
        let asked = std::slice::from_ref(&name);
        told.left(&room, asked, true);
        assert!(told.has(&room, &name), "the second is not answered yet");
        told.left(&room, asked, true);
        assert!(told.0.borrow().is_empty());
    }

    #[test]
    fn what_redis_was_never_told_is_not_kept() {
        let (told, (room, name)) = (Told::default(), names());
        assert_eq!(told.note(&room, &name, true, false), Tell::Nothing);
        assert_eq!(told.members(10, |_| true).len(), 1);
        assert_eq!(told.all_told(10, |_| true).len(), 0);
        assert_eq!(told.note(&room, &name, false, false), Tell::Nothing);
        assert!(told.0.borrow().is_empty());
    }

    #[test]
    fn who_leaves_while_redis_is_away_is_taken_out_later() {
        let (told, (room, name)) = (Told::default(), names());
        told.note(&room, &name, true, true);
        assert_eq!(told.note(&room, &name, false, false), Tell::Nothing);
        assert!(told.groups(|_| true).is_empty());
        for (done, has) in [(false, true), (true, false)] {
            let leaving = told.take_out(told.leaving(10, |_| true).remove(0));
            assert_eq!(leaving.names, std::slice::from_ref(&name));
            told.left(&room, &leaving.names, done);
            assert_eq!(told.has(&room, &name), has, "as it was answered");
        }
        assert!(told.0.borrow().is_empty());
    }
}
