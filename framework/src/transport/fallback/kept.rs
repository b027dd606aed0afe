//! The batches that a client has not acknowledged.

use std::{collections::VecDeque, rc::Rc};

use bytes::Bytes;

use crate::groups::budget::{Charge, Ledger};

/// How many batches may be kept before no more are made. In bytes, the outbox's bound holds.
pub(crate) const WINDOW: usize = 256;

/// A client acknowledges a stream's batches after so many bytes. If fewer could be on their way, it would never do so.
pub(super) const ACKNOWLEDGED: usize = 64 << 10;

/// The batches from the oldest unacknowledged one to the last, by number.
#[derive(Default)]
pub(super) struct KeptBatches {
    batches: VecDeque<KeptBatch>,
    bytes: usize,
    last: u64,
    /// The greatest number of a batch that a request was given.
    given: u64,
}

struct KeptBatch {
    number: u64,
    json: Bytes,
    /// Counts the bytes in the budget of the mount.
    _charge: Charge,
}

impl KeptBatches {
    /// Drops all batches up to a number. Returns false if no batch with this number was made yet.
    pub(super) fn acknowledge(&mut self, number: u64) -> bool {
        if number > self.last {
            return false;
        }
        while let Some(batch) = self.batches.front().filter(|batch| batch.number <= number) {
            self.bytes -= batch.json.len();
            self.batches.pop_front();
        }
        true
    }

    /// The number of the next batch.
    pub(super) fn next_number(&self) -> u64 {
        self.last + 1
    }

    /// Adds the next batch. Returns true if the mount is now over its budget.
    pub(super) fn add(&mut self, json: Bytes, ledger: Rc<Ledger>) -> bool {
        let (charge, over_budget) = Charge::new(ledger, json.len());
        self.last += 1;
        self.bytes += json.len();
        self.batches.push_back(KeptBatch { number: self.last, json, _charge: charge });
        over_budget
    }

    /// The first batch after a number.
    pub(super) fn after(&self, number: u64) -> Option<(u64, Bytes)> {
        let batch = self.batches.iter().find(|batch| batch.number > number)?;
        Some((batch.number, batch.json.clone()))
    }

    /// Notes that a request was given a batch. Returns true if the batch was given before.
    pub(super) fn note_given(&mut self, number: u64) -> bool {
        let again = number <= self.given;
        self.given = self.given.max(number);
        again
    }

    /// Whether another batch may be made, if an outbox may hold `most` bytes.
    pub(super) fn has_room(&self, most: usize) -> bool {
        self.batches.is_empty() || (self.batches.len() < WINDOW && self.bytes < most)
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64) -> KeptBatches {
        let mut kept = KeptBatches::default();
        for _ in 0..count {
            kept.add(Bytes::from_static(b"0123456789"), Ledger::unbounded());
        }
        kept
    }

    #[test]
    fn acknowledged_batches_are_dropped_and_the_rest_stays_in_order() {
        let mut kept = filled(3);
        assert!(!kept.acknowledge(4));
        assert!(kept.acknowledge(2) && kept.acknowledge(1) && kept.acknowledge(0));
        assert_eq!((kept.bytes(), kept.after(0).unwrap().0, kept.after(3)), (10, 3, None));
        assert!(kept.acknowledge(3) && kept.is_empty());
        assert_eq!((kept.bytes(), kept.next_number()), (0, 4));
    }

    #[test]
    fn the_window_is_bounded_by_count_and_bytes() {
        assert!(filled(0).has_room(0), "one batch may always be made");
        assert!(filled(2).has_room(21) && !filled(2).has_room(20));
        assert!(
            filled(WINDOW as u64 - 1).has_room(usize::MAX) && !filled(WINDOW as u64).has_room(usize::MAX)
        );
    }

    #[test]
    fn a_batch_that_is_given_twice_is_noted() {
        let mut kept = filled(2);
        assert!(!kept.note_given(1) && kept.note_given(1) && !kept.note_given(2) && kept.note_given(1));
    }
}
