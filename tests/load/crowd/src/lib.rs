//! What the programs of this package share: a small client, and the costs of a process.

pub mod process;
pub mod wire;
