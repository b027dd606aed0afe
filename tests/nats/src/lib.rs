//! NATS servers for the tests of the layer.

mod server;

pub use self::server::NatsServer;
