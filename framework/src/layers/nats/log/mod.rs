//! The logs of groups on NATS, in streams of JetStream.
//!
//! Each policy has a stream of its own, and each group in it a subject. What is in a log is in [`entry`]. An entry's offset
//! is its sequence number in the stream: so the offsets of one group grow, but have gaps. The server tells all processes
//! of a new entry by a *republication*, which also says the number of the entry before it.
//!
//! The server drops an entry that is too old. A group may be silent for longer than that, and then the place where its
//! members stand would be gone. So there are *marks*: a process with members writes one before the log's last message gets
//! too old, and it names the place behind which it stands. The first message of a log is a mark too.

mod api;
mod append;
mod entry;
mod find;
mod foreign;
mod key;
mod link;
mod look;
pub(super) mod own;
mod pull;
mod read;
mod stream;
pub(super) mod streams;
pub(super) mod tasks;
pub(super) mod unlogged;
