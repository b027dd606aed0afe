//! What users rely on, over real sockets and without. `churn` and `counts` are programs of their own: they look at all of a process.

mod bad_input;
mod burst;
mod communicator;
mod context;
mod decoding;
mod deflate;
mod direct;
mod every_transport;
mod fallback;
mod flush;
mod handshake;
mod heartbeat;
mod http_consumer;
mod jobs;
mod lifecycle;
mod order;
mod process;
mod slow_reader;
mod workers;
