//! Compiles the examples in the docs of the macros.

#[cfg(doctest)]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/macros.md"))]
struct Docs;
