//! The tests of the examples in a real browser.

mod bundled;
mod chat;
mod client;
mod deploy_log;
mod django_interop;
mod game;
mod live_chart;
mod page;
mod redis;
mod restart;
mod resume;
mod transports;
