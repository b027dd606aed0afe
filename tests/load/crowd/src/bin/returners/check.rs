//! What each client must get, and what it got: every message of its room, once and in order.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

/// The messages of a room, which are numbered from 1.
#[derive(Default)]
pub struct Room {
    /// The number of the last message that the server was given.
    pub sent: Cell<u64>,
    /// The number of the last message that the server said it has sent.
    pub acked: Cell<u64>,
    /// The messages for which the server gave no answer, or said no: all clients get them, or none does.
    pub doubtful: RefCell<BTreeSet<u64>>,
}

/// What one client got.
#[derive(Default)]
pub struct Check {
    pub room: usize,
    /// The highest number that has come.
    last: u64,
    /// The lower numbers that have not come, and whether the client was told so.
    missing: BTreeMap<u64, bool>,
    /// The client was told that it has missed events, and nothing has come since.
    told: bool,
    delivered: u64,
}

/// How a message fits what came before.
#[derive(PartialEq, Clone, Copy)]
pub enum Fit {
    New,
    Doubled,
    OutOfOrder,
}

impl Check {
    pub fn of(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Whether all messages up to this one have come, or never will.
    pub fn has(&self, number: u64) -> bool {
        self.told || self.last >= number
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// The client is told that it has missed events.
    pub fn tell(&mut self) {
        self.told = true;
    }

    pub fn take(&mut self, number: u64) -> Fit {
        if number > self.last {
            self.missing.extend((self.last + 1..number).map(|gone| (gone, self.told)));
            (self.last, self.told) = (number, false);
        } else if self.missing.remove(&number).is_none() {
            return Fit::Doubled;
        } else {
            self.delivered += 1;
            return Fit::OutOfOrder;
        }
        self.delivered += 1;
        Fit::New
    }
}

/// The sums over all clients.
#[derive(Default)]
pub struct Sums {
    pub expected: u64,
    pub delivered: u64,
    /// Missing, though the client was not told.
    pub lost: u64,
    /// Missing, and the client was told.
    pub told: u64,
    pub doubtful: usize,
}

pub fn sums(rooms: &[Room], checks: &[RefCell<Check>]) -> Sums {
    let mut sums = Sums::default();
    // A doubtful message that nobody has got was never sent.
    let mut came: BTreeSet<(usize, u64)> = BTreeSet::new();
    for check in checks.iter().map(RefCell::borrow) {
        let doubtful = rooms[check.room].doubtful.borrow();
        let has = |number: &&u64| **number <= check.last && !check.missing.contains_key(number);
        came.extend(doubtful.iter().filter(has).map(|number| (check.room, *number)));
    }
    for check in checks.iter().map(RefCell::borrow) {
        let room = &rooms[check.room];
        let doubtful = room.doubtful.borrow();
        let counts = |number: u64| !doubtful.contains(&number) || came.contains(&(check.room, number));
        let late = (check.last + 1..=room.sent.get()).map(|number| (number, check.told));
        let gaps = check.missing.iter().map(|(number, told)| (*number, *told));
        for (_, told) in gaps.chain(late).filter(|(number, _)| counts(*number)) {
            *(if told { &mut sums.told } else { &mut sums.lost }) += 1;
            sums.expected += 1;
        }
        sums.expected += check.delivered;
        sums.delivered += check.delivered;
    }
    sums.doubtful = rooms.iter().map(|room| room.doubtful.borrow().len()).sum();
    sums
}
