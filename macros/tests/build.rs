//! Copies the docs of the macros out of their source, so that this package can compile the examples.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../src/lib.rs");
    let source = fs::read_to_string("../src/lib.rs")?;
    let docs: String =
        source.lines().filter_map(|line| line.strip_prefix("///")).map(|line| format!("{line}\n")).collect();
    Ok(fs::write(Path::new(&env::var("OUT_DIR")?).join("macros.md"), docs)?)
}
