//! Code that must not compile, and the errors that a user reads then. Code that must compile is in the program `macros`.
//!
//! The errors of rustc change with its version, so the cases run only under the pinned version.
//! `TRYBUILD=overwrite cargo test -p macro-tests --test ui` writes the expected errors again.

use std::{env, process::Command};

/// The version of rustc whose errors are in the `.stderr` files.
const PINNED: &str = "rustc 1.95.";

#[test]
fn ui() {
    let version = rustc_version();
    if version.starts_with(PINNED) {
        // If no case must pass, trybuild compiles all cases with one call of cargo.
        trybuild::TestCases::new().compile_fail("ui/*/fail/*.rs");
    } else {
        println!("this is {version}, not {PINNED}x: the cases that must fail are skipped");
    }
}

fn rustc_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc runs, since it built this");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
