//! The tests of the layers on Redis. `redis_log` is a separate program, because it counts log lines of its process.

mod redis_chat;
mod redis_cli;
mod redis_core;
mod redis_end;
mod redis_faults;
mod redis_history;
mod redis_hosts;
mod redis_names;
mod redis_pubsub;
mod redis_python;
mod redis_refusals;
mod redis_sentinel;
mod redis_shards;
mod redis_slow;
mod redis_tls;
mod redis_workers;
