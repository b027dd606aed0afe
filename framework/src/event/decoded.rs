//! The values that were read from one event of the wire: a value or an error for each Rust type.

use std::{
    any::{Any, TypeId},
    sync::{Arc, OnceLock},
};

use super::{Event, EventError};

/// A list with one entry for each type that was asked for. It never has more entries than the program has types.
///
/// Nothing is locked while an event is read, because `Deserialize` is user code. So two threads may read the same type
/// at the same time. The first value to be ready is kept, and both threads use it.
#[derive(Default)]
pub(super) struct Decoded(OnceLock<Box<ReadAs>>);

struct ReadAs {
    of: TypeId,
    /// An error is kept too: an event that does not fit must not cost more than an event that fits.
    event: Result<Arc<dyn Any + Send + Sync>, EventError>,
    next: Decoded,
}

impl Decoded {
    /// The event as an `E`: the value that is kept, else the result of `read`.
    pub(super) fn event<E: Event>(
        &self,
        read: impl FnOnce() -> Result<E, EventError>,
    ) -> Result<Arc<E>, EventError> {
        if let Some(kept) = self.find() {
            return kept;
        }
        let read = read().map(Arc::new);
        let event = match &read {
            Ok(event) => Ok(Arc::clone(event) as _),
            Err(error) => Err(error.clone()),
        };
        self.keep(Box::new(ReadAs { of: TypeId::of::<E>(), event, next: Self::default() }));
        // All threads share one value, even if another thread was faster.
        self.find().unwrap_or(read)
    }

    fn find<E: Event>(&self) -> Option<Result<Arc<E>, EventError>> {
        let mut at = self.0.get();
        while let Some(entry) = at {
            if entry.of == TypeId::of::<E>() {
                return match &entry.event {
                    Ok(event) => Arc::clone(event).downcast().ok().map(Ok),
                    Err(error) => Some(Err(error.clone())),
                };
            }
            at = entry.next.0.get();
        }
        None
    }

    /// Appends the entry, unless its type has one.
    fn keep(&self, mut entry: Box<ReadAs>) {
        let mut at = self;
        while let Err(mine) = at.0.set(entry) {
            entry = mine;
            match at.0.get() {
                Some(there) if there.of != entry.of => at = &there.next,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        thread,
    };

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize, crate::Event)]
    struct One {}

    #[derive(Debug, Clone, Serialize, Deserialize, crate::Event)]
    struct Two {}

    fn misfit() -> EventError {
        EventError::Fields { name: "two".into(), reason: "none fits".into() }
    }

    #[test]
    fn a_value_and_an_error_are_kept_for_each_type() {
        let (decoded, reads) = (Decoded::default(), AtomicUsize::new(0));
        let one = || {
            decoded.event(|| {
                reads.fetch_add(1, Relaxed);
                Ok(One {})
            })
        };
        let two = || {
            decoded.event::<Two>(|| {
                reads.fetch_add(1, Relaxed);
                Err(misfit())
            })
        };
        let first = one().unwrap();
        assert_eq!(two().unwrap_err(), misfit());
        assert!(Arc::ptr_eq(&first, &one().unwrap()));
        assert_eq!(two().unwrap_err(), misfit());
        assert_eq!(reads.load(Relaxed), 2);
    }

    #[test]
    fn a_read_that_panics_leaves_nothing_behind() {
        let decoded = Decoded::default();
        let panics = std::panic::AssertUnwindSafe(|| decoded.event::<One>(|| panic!("the user's")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(decoded.event(|| Ok(One {})).is_ok());
    }

    #[test]
    fn threads_that_read_at_the_same_time_share_one_value() {
        let (decoded, start) = (Decoded::default(), Barrier::new(4));
        let values = thread::scope(|scope| {
            let read = || {
                // All threads have begun before one of them ends.
                decoded.event(|| {
                    start.wait();
                    Ok(One {})
                })
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect::<Vec<_>>()
        });
        assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
    }

    /// Nothing is locked while a value is read, so the reading may ask for another type.
    #[test]
    fn a_read_may_ask_for_another_type() {
        let decoded = Decoded::default();
        let one = decoded.event(|| decoded.event(|| Ok(Two {})).map(|_| One {}));
        assert!(one.is_ok() && decoded.event::<Two>(|| Err(misfit())).is_ok());
    }
}
