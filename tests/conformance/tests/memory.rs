//! The memory layer.

use conformance_tests::Server;
use greenroom::{Layer, LayerConfig, MemoryLayer};

/// Without a server, each layer in memory stands alone.
struct Memory;

impl Server for Memory {
    const ALONE: bool = true;

    async fn start() -> Self {
        Self
    }

    async fn make(&self, config: LayerConfig) -> Layer {
        MemoryLayer::with_config(config).into()
    }
}

mod memory {
    conformance_tests::every_layer!(super::Memory);
    conformance_tests::moved_clock!(super::Memory);
    conformance_tests::stored!(super::Memory);
    conformance_tests::processes!(super::Memory, "a memory layer serves one process");
    conformance_tests::shared!(super::Memory, "a memory layer serves one process");
    conformance_tests::workers!(super::Memory, "a memory layer serves one process");
}
