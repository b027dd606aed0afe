//! The tests with sessions and users of a real Django.

mod away;
mod database;
mod signed_cookies;
