//! Tests of what users rely on, with and without real sockets.
//!
//! `churn` and `counts` are separate programs, because they measure a whole process.

mod admission;
mod backend;
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
mod from_app;
mod handshake;
mod heartbeat;
mod history;
mod http_communicator;
mod http_consumer;
mod jobs;
mod lifecycle;
mod logs;
mod names;
mod nginx;
mod order;
mod process;
mod requests;
mod resuming;
mod rooms;
mod runtimes;
mod slow_reader;
mod streaming;
mod workers;
