//! The tests of the layer on NATS.

mod nats_channels;
mod nats_chat;
mod nats_cli;
mod nats_conformance;
mod nats_faults;
mod nats_history;
mod nats_hosts;
