//! What all outboxes hold together, and who is closed when that is too much.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    hub::Hub,
    queue::{Job, WorkerQueue},
};
use crate::consumer::connection::Connection;

/// How far a worker's own count may be ahead of what it has told the others: no delivery touches anything shared.
const STEP: usize = 64 << 10;

/// The most that the outboxes of a mount's connections may hold, over all workers.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    step: usize,
    total: AtomicUsize,
    workers: Mutex<Vec<Arc<Share>>>,
}

/// One worker's part.
#[derive(Debug)]
struct Share {
    queue: Arc<WorkerQueue>,
    held: AtomicUsize,
    /// Whether another worker has asked it to make room, and it has not yet.
    asked: AtomicBool,
}

/// Bytes that are held for a client outside its outbox, until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    ledger: Rc<Ledger>,
    bytes: usize,
}

impl Charge {
    /// Counts bytes; true where the process now holds too much.
    pub(crate) fn new(ledger: Rc<Ledger>, bytes: usize) -> (Self, bool) {
        let over_budget = ledger.add(bytes);
        (Self { ledger, bytes }, over_budget)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.take(self.bytes, 1);
    }
}

impl Budget {
    pub(crate) const DEFAULT: usize = 256 << 20;

    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let step = (limit / 16).clamp(1, STEP);
        Arc::new(Self { limit, step, total: AtomicUsize::new(0), workers: Mutex::default() })
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Arc<Share>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker that holds most, as far as is known.
    fn heaviest(&self) -> Option<Arc<Share>> {
        self.workers().iter().max_by_key(|share| share.held.load(Relaxed)).cloned()
    }
}

/// The count of one budget on one worker.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: Arc<Budget>,
    share: Arc<Share>,
    held: Cell<usize>,
    /// What of it the others know.
    told: Cell<usize>,
    /// The hub's current tick.
    clock: Rc<Cell<u32>>,
}

impl Ledger {
    /// What a frame counts for beyond its bytes: its place in the queue.
    pub(super) const FRAME: usize = size_of::<bytes::Bytes>();

    pub(super) fn new(budget: &Arc<Budget>, queue: &Arc<WorkerQueue>, clock: &Rc<Cell<u32>>) -> Rc<Self> {
        let share = Arc::new(Share {
            queue: Arc::clone(queue),
            held: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
        });
        budget.workers().push(Arc::clone(&share));
        Rc::new(Self {
            budget: Arc::clone(budget),
            share,
            held: Cell::new(0),
            told: Cell::new(0),
            clock: Rc::clone(clock),
        })
    }

    #[cfg(test)]
    pub(crate) fn unbounded() -> Rc<Self> {
        Self::new(&Budget::new(usize::MAX), &WorkerQueue::new(), &Rc::default())
    }

    pub(super) fn is_of(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }

    pub(super) fn now(&self) -> u32 {
        self.clock.get()
    }

    /// Counts a frame; true where the process now holds too much.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let held = self.held.get() + bytes + Self::FRAME;
        self.held.set(held);
        if held < self.told.get() + self.budget.step {
            return false;
        }
        self.tell() > self.budget.limit
    }

    /// Takes frames out of the count.
    pub(super) fn take(&self, bytes: usize, frames: usize) {
        let held = self.held.get() - bytes - frames * Self::FRAME;
        self.held.set(held);
        if held + self.budget.step <= self.told.get() {
            self.tell();
        }
    }

    /// Tells the others what this worker holds. Returns what all hold.
    fn tell(&self) -> usize {
        let held = self.held.get();
        let told = self.told.replace(held);
        self.share.held.store(held, Relaxed);
        // Wrapping: a part that shrank is added as its complement.
        let change = held.wrapping_sub(told);
        self.budget.total.fetch_add(change, Relaxed).wrapping_add(change)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.get()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.held.set(0);
        self.tell();
        self.budget.workers().retain(|share| !Arc::ptr_eq(share, &self.share));
    }
}

impl Hub {
    /// Makes room where all outboxes together hold too much: the worker that holds most closes its largest first.
    ///
    /// Where that is another one, and it is blocked, this worker gives up its own once an eighth more is held.
    pub(crate) fn relieve(&self, ledger: &Ledger) {
        let budget = &ledger.budget;
        if let Some(heaviest) = budget.heaviest()
            && !Arc::ptr_eq(&heaviest, &ledger.share)
            && budget.total.load(Relaxed) <= budget.limit.saturating_add(budget.limit / 8)
        {
            let asked = heaviest.asked.swap(true, Relaxed);
            if asked || heaviest.queue.push(Job::Relieve { budget: Arc::clone(budget) }).is_ok() {
                return;
            }
        }
        self.shed(ledger);
    }

    /// Another worker found that this one holds most.
    pub(super) fn relieve_for(&self, budget: &Arc<Budget>) {
        let ledger = self.ledgers.borrow().iter().find(|ledger| ledger.is_of(budget)).cloned();
        if let Some(ledger) = ledger {
            ledger.share.asked.store(false, Relaxed);
            if ledger.tell() > 0 {
                self.shed(&ledger);
            }
        }
    }

    /// Closes the connections with the largest outboxes, until a sixteenth of the budget is free again.
    fn shed(&self, ledger: &Ledger) {
        let target = ledger.budget.limit - ledger.budget.limit / 16;
        if ledger.tell() <= ledger.budget.limit {
            return;
        }
        let mut largest: Vec<(usize, Rc<Connection>)> = {
            let connections = self.connections.borrow();
            let held = connections.iter().map(|(_, one)| (one.held_of(ledger), Rc::clone(one)));
            held.filter(|(held, _)| *held > 0).collect()
        };
        largest.sort_by_key(|(held, _)| std::cmp::Reverse(*held));
        tracing::warn!(
            limit = ledger.budget.limit,
            "all outboxes together hold too much: the largest are closed"
        );
        for (_, connection) in largest {
            connection.give_way();
            if ledger.tell() <= target {
                break;
            }
        }
    }

    /// This worker's count of a budget.
    pub(crate) fn ledger(&self, budget: &Arc<Budget>) -> Rc<Ledger> {
        let mut ledgers = self.ledgers.borrow_mut();
        if let Some(known) = ledgers.iter().find(|ledger| ledger.is_of(budget)) {
            return Rc::clone(known);
        }
        // Those of mounts that are gone.
        ledgers.retain(|ledger| Rc::strong_count(ledger) > 1);
        let ledger = Ledger::new(budget, &self.queue, self.wheel.clock());
        ledgers.push(Rc::clone(&ledger));
        ledger
    }
}
