//! What the browser tests share: the examples' servers, a browser, its open pages, and a proxy in between.
//!
//! No test sleeps. A test waits for what a page must show inside the page, by a script that looks
//! again at each change of the document. It waits for a program by reading its output.

mod browser;
mod engine;
mod interop;
mod page;
mod program;
mod proxy;

pub use browser::{Browser, Key};
pub use engine::Engine;
pub use interop::Interop;
pub use page::Page;
pub use program::Server;
pub use proxy::Proxy;

/// The result of a step. A test only reports the error.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
