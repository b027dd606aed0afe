//! How a hub makes room when all outboxes of a mount together hold too much.

use std::{cmp::Reverse, rc::Rc, sync::Arc};

use super::{
    budget::{Budget, Ledger},
    hub::Hub,
    member::Member,
};

impl Hub {
    /// Makes room: the thread that holds most closes the connections with its largest outboxes.
    ///
    /// If that thread is blocked, this one closes its own connections when an eighth more than the limit is held.
    pub(crate) fn relieve(&self, ledger: &Ledger) {
        if !ledger.ask_heaviest() {
            self.shed(ledger);
        }
    }

    /// Makes room for another thread, which found that this one holds most.
    pub(super) fn relieve_for(&self, budget: u64) {
        let ledger = self.ledgers.borrow().iter().find(|ledger| ledger.is_of(budget)).cloned();
        if let Some(ledger) = ledger {
            ledger.note_asked();
            self.shed(&ledger);
        }
    }

    /// Closes the connections with the largest outboxes, until a sixteenth of the budget is free again.
    fn shed(&self, ledger: &Ledger) {
        if !ledger.is_over() {
            return;
        }
        let mut largest: Vec<(usize, Rc<dyn Member>)> = {
            let connections = self.connections.borrow();
            let held = connections.iter().map(|(_, one)| (one.held_of(ledger), Rc::clone(one)));
            held.filter(|(held, _)| *held > 0).collect()
        };
        largest.sort_by_key(|(held, _)| Reverse(*held));
        tracing::warn!(limit = ledger.limit(), "all outboxes together hold too much: the largest are closed");
        for (_, member) in largest {
            member.give_way();
            if ledger.is_relieved() {
                break;
            }
        }
    }

    /// This thread's count of a budget.
    pub(crate) fn ledger(&self, budget: &Arc<Budget>) -> Rc<Ledger> {
        let mut ledgers = self.ledgers.borrow_mut();
        if let Some(known) = ledgers.iter().find(|ledger| ledger.is_of(budget.number())) {
            return Rc::clone(known);
        }
        // No connection uses these ledgers. Their mounts are gone, or the ledgers are made again when needed.
        ledgers.retain(|ledger| Rc::strong_count(ledger) > 1);
        let ledger = Ledger::new(budget, &self.queue, self.wheel.clock());
        ledgers.push(Rc::clone(&ledger));
        ledger
    }
}
