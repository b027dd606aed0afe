//! The locks and counters that threads share.
//!
//! They are those of the standard library. In the model test they are those of `shuttle`, which runs the threads in
//! many orders.

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
