//! Tests of what users rely on, with and without real sockets.
//!
//! `churn` and `counts` are separate programs, because they measure a whole process.

mod admission;
mod bad_input;
mod burst;
mod communicator;
mod context;
mod decoding;
mod deflate;
mod direct;
mod durations;
mod every_transport;
mod fallback;
mod flush;
mod forged;
mod handshake;
mod heartbeat;
mod http_consumer;
mod jobs;
mod lifecycle;
mod nginx;
mod order;
mod process;
mod slow_reader;
mod workers;
