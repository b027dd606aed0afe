//! Hosts: what takes connections from the network, and how they end with the process.

pub(crate) mod application;
mod fallback;
mod http;
mod mount;
mod run;
mod running;
mod script;
mod server;
mod settings;
pub(crate) mod signals;
mod takeover;

pub use self::{
    mount::Mount,
    run::{Serve, run, run_with},
    running::{Running, RunningHandle},
    server::Server,
};
