//! The runtimes that the library needs, and errors in place of their panics.

use std::{io, panic::catch_unwind};

use actix_rt::System;

/// What a program has to write, so that consumers can run on a thread of its own.
const HINT: &str = "a consumer needs the runtime of actix, and this thread has none: write `#[actix_web::test]` \
                    in place of `#[tokio::test]`, and `#[actix_web::main]` in place of `#[tokio::main]`";

/// An error if no runtime runs on this thread. A server needs any: its threads have runtimes of their own.
pub(crate) fn require_any() -> io::Result<()> {
    tokio::runtime::Handle::try_current().map(drop).map_err(|_| {
        let text =
            "there is no runtime: write `#[actix_web::main]` above `async fn main`, and await this in it";
        io::Error::other(text)
    })
}

/// Panics if consumers cannot run on this thread. Called once for each thread and layer.
pub(crate) fn require_local() {
    // A `LocalSet` of tokio serves too: under `#[tokio::main]`, the threads of an `HttpServer` have one. Tokio offers no way
    // to ask for it, so a task is tried.
    let is_local =
        System::is_registered() || catch_unwind(|| drop(tokio::task::spawn_local(async {}))).is_ok();
    assert!(is_local, "{HINT}");
}

/// Panics if this thread does not have the runtime of actix.
#[cfg(feature = "testing")]
pub(crate) fn require_actix() {
    assert!(System::is_registered(), "{HINT}");
}
