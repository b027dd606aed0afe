//! The locks and counters that threads share: the standard library's, and in the model test those of `shuttle`, which
//! tries the orders that threads can run in.

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic::AtomicUsize},
    thread_local,
};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic::AtomicUsize},
    thread_local,
};
