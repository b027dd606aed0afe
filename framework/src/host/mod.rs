//! Hosts: they take connections from the network, and end them when the server ends.

pub(crate) mod application;
mod fallback;
pub(crate) mod http;
mod mount;
mod outbox_body;
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
