//! The clock of a hub: one hashed timing wheel.
//!
//! It serves all pings, idle limits and timeouts of the hub's connections.
//!
//! A connection has no timer of its own. It has at most one entry in the wheel, which says when to *look* at it. When
//! something happens on the connection, it only notes the number of the current tick. When the entry comes up, the
//! connection works out its true deadlines and asks for the next look. So what happens on a connection does not touch
//! the wheel.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use crate::wire::limits::Ticks;

/// How many ticks one turn of the wheel has: 64 s.
///
/// A look that is farther off is taken at the end of the turn, and finds that nothing is due.
const BUCKETS: usize = 256;
/// If the clock is more than this many ticks late, the thread counts as blocked.
pub(super) const LATE: u32 = 4;
/// No entry.
const NONE: u32 = u32::MAX;

/// The wheel of one hub. A connection's entry is found by its slot in the hub.
pub(crate) struct Wheel {
    started: Instant,
    /// The current tick. Ticks begin at 1, so that 0 can stand for "not yet".
    now: Rc<Cell<u32>>,
    state: RefCell<WheelState>,
}

struct WheelState {
    /// The first entry of each bucket.
    heads: Box<[u32; BUCKETS]>,
    /// By slot.
    entries: Vec<WheelEntry>,
    len: usize,
    /// The tick whose bucket was emptied last.
    done: u32,
    /// Wakes the task that ticks, which sleeps while nothing is scheduled.
    idle: Option<Waker>,
}

/// One connection's place in the list of its bucket.
#[derive(Clone, Copy)]
struct WheelEntry {
    previous: u32,
    next: u32,
    /// The tick at which the entry comes up; [`NONE`] if the slot has no entry.
    due: u32,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            now: Rc::new(Cell::new(1)),
            state: RefCell::new(WheelState {
                heads: Box::new([NONE; BUCKETS]),
                entries: Vec::new(),
                len: 0,
                done: 0,
                idle: None,
            }),
        }
    }

    /// The current tick. Kept up to date while something is scheduled; reading it needs no look at the clock.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// The cell of the current tick.
    pub(super) fn clock(&self) -> &Rc<Cell<u32>> {
        &self.now
    }

    pub(super) fn refresh(&self) -> u32 {
        let ticks = self.started.elapsed().as_millis() / Ticks::LENGTH.as_millis();
        // The tick never runs backwards. The type lasts for 34 years.
        let now = u32::try_from(ticks + 1).unwrap_or(NONE - 1).max(self.now.get());
        self.now.set(now);
        now
    }

    /// Schedules a look at the connection in `slot` for the tick `due`. An earlier entry stays.
    pub(crate) fn schedule(&self, slot: u32, due: u32) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.len == 0 {
            // While nothing was scheduled, the clock was not kept up.
            state.done = self.refresh();
        }
        let due = due.clamp(state.done + 1, state.done + BUCKETS as u32 - 1);
        let at = slot as usize;
        if state.entries.len() <= at {
            state.entries.resize(at + 1, WheelEntry { previous: NONE, next: NONE, due: NONE });
        }
        if state.entries[at].due <= due {
            return;
        }
        state.unlink(slot);
        state.link(slot, due);
        if let Some(idle) = state.idle.take() {
            idle.wake();
        }
    }

    /// How many connections have an entry.
    #[cfg(feature = "testing")]
    pub(super) fn len(&self) -> usize {
        self.state.borrow().len
    }

    /// Removes the entry of a slot.
    pub(super) fn remove(&self, slot: u32) {
        self.state.borrow_mut().unlink(slot);
    }

    /// Takes out the next connection that is due, up to the current tick.
    pub(super) fn pop(&self) -> Option<u32> {
        let now = self.now.get();
        let mut state = self.state.borrow_mut();
        loop {
            let at = state.done.wrapping_add(1);
            if at > now {
                return None;
            }
            let slot = state.heads[at as usize % BUCKETS];
            // A bucket holds entries of one turn only, because no entry is a whole turn ahead.
            if slot != NONE {
                state.unlink(slot);
                return Some(slot);
            }
            state.done = if state.len == 0 { now } else { at };
        }
    }

    pub(super) fn poll_scheduled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if state.len > 0 {
            return Poll::Ready(());
        }
        // No entry is left, so the memory is given back.
        state.entries = Vec::new();
        state.idle = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn start_of(&self, tick: u32) -> Instant {
        self.started + Ticks::LENGTH * tick.saturating_sub(1)
    }
}

impl WheelState {
    fn link(&mut self, slot: u32, due: u32) {
        let head = &mut self.heads[due as usize % BUCKETS];
        let next = std::mem::replace(head, slot);
        self.entries[slot as usize] = WheelEntry { previous: NONE, next, due };
        if next != NONE {
            self.entries[next as usize].previous = slot;
        }
        self.len += 1;
    }

    fn unlink(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        let WheelEntry { previous, next, due } = std::mem::replace(entry, WheelEntry { due: NONE, ..*entry });
        if due == NONE {
            return;
        }
        if previous == NONE {
            self.heads[due as usize % BUCKETS] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All slots that come up until `tick`, each with its tick.
    fn popped(wheel: &Wheel, tick: u32) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        for now in wheel.now()..=tick {
            wheel.now.set(now);
            all.extend(std::iter::from_fn(|| wheel.pop()).map(|slot| (now, slot)));
        }
        all
    }

    #[test]
    fn each_entry_comes_up_once_in_its_tick() {
        let wheel = Wheel::new();
        for (slot, due) in [(3, 5), (0, 9), (7, 5), (1, 200)] {
            wheel.schedule(slot, due);
        }
        assert_eq!(popped(&wheel, 300), [(5, 7), (5, 3), (9, 0), (200, 1)]);
        assert_eq!(wheel.state.borrow().len, 0);
    }

    #[test]
    fn a_connection_has_one_entry_the_earliest() {
        let wheel = Wheel::new();
        wheel.schedule(1, 50);
        wheel.schedule(1, 20);
        wheel.schedule(1, 70);
        wheel.schedule(2, 20);
        assert_eq!(wheel.state.borrow().len, 2);
        assert_eq!(popped(&wheel, 100), [(20, 2), (20, 1)]);
    }

    #[test]
    fn an_entry_that_was_removed_does_not_come_up() {
        let wheel = Wheel::new();
        for slot in 0..5 {
            wheel.schedule(slot, 10);
        }
        for slot in [0, 2, 4, 4, 90] {
            wheel.remove(slot);
        }
        assert_eq!(popped(&wheel, 20), [(10, 3), (10, 1)]);
    }

    #[test]
    fn an_entry_farther_off_than_a_turn_comes_up_at_the_end_of_the_turn() {
        let wheel = Wheel::new();
        wheel.schedule(0, 100_000);
        wheel.schedule(1, 10);
        assert_eq!(popped(&wheel, 300), [(10, 1), (256, 0)]);
    }

    #[test]
    fn a_clock_that_jumps_leaves_no_entry_out() {
        let wheel = Wheel::new();
        for slot in 0..100 {
            wheel.schedule(slot, 2 + slot * 2);
        }
        wheel.now.set(10_000);
        let mut slots: Vec<u32> = std::iter::from_fn(|| wheel.pop()).collect();
        slots.sort_unstable();
        assert!(slots.into_iter().eq(0..100));
        wheel.schedule(5, 0);
        wheel.now.set(10_001);
        assert_eq!(wheel.pop(), Some(5), "an entry for the past comes up in the next tick");
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<WheelEntry>(), 12);
    }
}
