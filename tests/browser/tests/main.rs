//! The examples, as people meet them.

mod chat;
mod client;
mod deploy_log;
mod django_interop;
mod live_chart;
mod page;
mod redis;
mod transports;
