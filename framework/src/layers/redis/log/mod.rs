//! The logs of groups on Redis.
//!
//! A log is two keys on the shard of its group. `<prefix>:gr:m:<group>` is a hash, the log's state: its epoch `e`, the
//! newest offset `s` with its tag `t`, the policy `p`, the newest mark `w` of events that are in no log, and on pub/sub
//! the number `j` of the process that began to listen last. `<prefix>:gr:l:<group>` is a stream of its entries.
//!
//! | File | |
//! |---|---|
//! | `append.lua` with `queues.lua` or `topics.lua` | appends an event, and brings it to other processes |
//! | `begin.lua` | begins a new epoch |
//! | `note.lua`, `listen.lua`, `transient.lua` | tell events of other programs from ours |
//!
//! Members of Django's queues, and what is published to a group's topic, are the same bytes as without history.

pub(super) mod append;
mod check;
pub(super) mod entry;
pub(super) mod linked;
pub(super) mod publish;
pub(super) mod read;
pub(super) mod scripts;
pub(super) mod secret;
mod serve;
pub(super) mod store;
pub(super) mod thread;
pub(super) mod unsure;
