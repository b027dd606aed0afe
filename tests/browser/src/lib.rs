//! Support for the browser test: the examples' servers, a browser, the pages open in it, and a proxy in between.
//!
//! Nothing here sleeps. What a page must show is waited for inside the page, which looks again at
//! each change of its document; what a program must print is read from its output.

mod browser;
mod interop;
mod page;
mod program;
mod proxy;

pub use browser::{Browser, Key};
pub use interop::Interop;
pub use page::Page;
pub use program::Server;
pub use proxy::Proxy;

/// What any step may fail with: the test only reports it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
