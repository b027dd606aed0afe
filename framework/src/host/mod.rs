//! Hosts: what takes connections from the network, and how they end with the process.

pub(crate) mod application;
mod mount;
mod run;
pub(crate) mod shutdown;

#[cfg(feature = "testing")]
pub(crate) use self::run::prepare;
pub use self::{
    mount::Mount,
    run::{run, run_with},
    shutdown::Drain,
};
