//! What must not compile, and what a user reads then. What must compile is part of the program `macros`.
//!
//! The texts of rustc change with its version, so the cases run under the pinned one only.
//! `TRYBUILD=overwrite cargo test -p macro-tests --test ui` writes the expected texts anew.

use std::{env, process::Command};

/// The version that the `.stderr` files are of.
const PINNED: &str = "rustc 1.95.";

#[test]
fn ui() {
    let version = rustc_version();
    if version.starts_with(PINNED) {
        // Without a case that must pass, all are given to one call of cargo.
        trybuild::TestCases::new().compile_fail("ui/*/fail/*.rs");
    } else {
        println!("this is {version}, not {PINNED}x: the cases that must fail are left out");
    }
}

fn rustc_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc runs, since it built this");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
