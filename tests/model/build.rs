//! Sets `cfg(shuttle)`, so that the sources of the library are compiled for the model test.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
