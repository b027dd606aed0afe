//! The tests of the examples in a real browser.

mod chat;
mod client;
mod deploy_log;
mod django_interop;
mod live_chart;
mod page;
mod redis;
mod transports;
