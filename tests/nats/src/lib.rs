//! NATS servers of the tests' own, and what the tests of the layer share.

mod server;

pub use self::server::NatsServer;
