//! The bytes that a mount may hold for all its clients together, and each thread's count of them.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::queue::{Call, HubQueue};

/// How far a thread's count may be ahead of what it has told the others, in bytes at most.
///
/// So most deliveries touch nothing that threads share.
const STEP: usize = 64 << 10;

/// The most that the outboxes of a mount's connections may hold, over all threads.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Unique in the process.
    number: u64,
    pub(super) limit: usize,
    step: usize,
    total: AtomicUsize,
    shares: Mutex<Vec<Arc<ThreadShare>>>,
}

/// One thread's part of a budget.
#[derive(Debug)]
struct ThreadShare {
    queue: Arc<HubQueue>,
    held: AtomicUsize,
    /// Whether another thread has asked this one to make room, and this one has not done so yet.
    asked: AtomicBool,
}

/// Bytes that are held for a client outside its outbox, until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    ledger: Rc<Ledger>,
    bytes: usize,
}

impl Charge {
    /// Counts bytes. True if the mount's outboxes now hold too much.
    pub(crate) fn new(ledger: Rc<Ledger>, bytes: usize) -> (Self, bool) {
        let over_budget = ledger.add(bytes);
        (Self { ledger, bytes }, over_budget)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            number: NEXT.fetch_add(1, Relaxed),
            limit,
            step,
            total: AtomicUsize::new(0),
            shares: Mutex::default(),
        })
    }

    fn shares(&self) -> MutexGuard<'_, Vec<Arc<ThreadShare>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The share of the thread that holds most, by what the threads have told.
    fn heaviest(&self) -> Option<Arc<ThreadShare>> {
        self.shares().iter().max_by_key(|share| share.held.load(Relaxed)).cloned()
    }
}

/// The count of one budget on one thread.
#[derive(Debug)]
pub(crate) struct Ledger {
    budget: Arc<Budget>,
    share: Arc<ThreadShare>,
    held: Cell<usize>,
    /// The part of `held` that the other threads know of.
    told: Cell<usize>,
    /// The hub's current tick.
    clock: Rc<Cell<u32>>,
}

impl Ledger {
    /// The bytes that each frame counts for beyond its own: its place in the queue.
    pub(super) const FRAME: usize = size_of::<bytes::Bytes>();

    pub(super) fn new(budget: &Arc<Budget>, queue: &Arc<HubQueue>, clock: &Rc<Cell<u32>>) -> Rc<Self> {
        let share = Arc::new(ThreadShare {
            queue: Arc::clone(queue),
            held: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
        });
        budget.shares().push(Arc::clone(&share));
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
        Self::new(&Budget::new(usize::MAX), &HubQueue::new(), &Rc::default())
    }

    pub(super) fn is_of(&self, budget: u64) -> bool {
        self.budget.number == budget
    }

    pub(super) fn now(&self) -> u32 {
        self.clock.get()
    }

    /// Counts a frame. True if the mount's outboxes now hold too much.
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

    /// Tells the others how much this thread holds. Returns how much all hold.
    fn tell(&self) -> usize {
        let held = self.held.get();
        let told = self.told.replace(held);
        self.share.held.store(held, Relaxed);
        // The addition wraps: if this thread holds less than before, the complement of the difference is added.
        let change = held.wrapping_sub(told);
        self.budget.total.fetch_add(change, Relaxed).wrapping_add(change)
    }

    /// Whether all threads together hold too much.
    pub(super) fn is_over(&self) -> bool {
        self.tell() > self.budget.limit
    }

    /// Whether a sixteenth of the limit is free.
    pub(super) fn is_relieved(&self) -> bool {
        self.tell() <= self.budget.limit - self.budget.limit / 16
    }

    /// Whether all threads together hold more than half of the limit, by what they have told.
    pub(crate) fn is_half_full(&self) -> bool {
        self.budget.total.load(Relaxed) > self.budget.limit / 2
    }

    pub(super) fn limit(&self) -> usize {
        self.budget.limit
    }

    /// Asks the thread that holds most to make room.
    ///
    /// False if this thread has to make room itself. That is so if it holds most, or if the thread that holds most has
    /// ended or is blocked. A thread counts as blocked when all hold more than the limit by an eighth.
    pub(super) fn ask_heaviest(&self) -> bool {
        let budget = &self.budget;
        let Some(heaviest) = budget.heaviest() else { return false };
        if Arc::ptr_eq(&heaviest, &self.share)
            || budget.total.load(Relaxed) > budget.limit.saturating_add(budget.limit / 8)
        {
            return false;
        }
        heaviest.asked.swap(true, Relaxed)
            || heaviest.queue.push(Call::Relieve { budget: budget.number }).is_ok()
    }

    /// Notes that this thread now makes room, as another one asked.
    pub(super) fn note_asked(&self) {
        self.share.asked.store(false, Relaxed);
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
        self.budget.shares().retain(|share| !Arc::ptr_eq(share, &self.share));
    }
}
