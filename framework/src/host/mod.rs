//! Hosts: what takes connections from the network, and how they end with the process.

pub(crate) mod application;
mod mount;
mod run;
pub(crate) mod shutdown;

pub use self::{
    mount::Mount,
    run::{Serve, run, run_with},
    shutdown::Drain,
};
