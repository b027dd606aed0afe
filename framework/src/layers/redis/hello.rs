//! What a server says of itself.

use std::collections::HashMap;

use redis::{RedisResult, Value, aio::MultiplexedConnection};

/// The answer to `HELLO`. Each user may ask, except one whose rights leave out the connection commands.
#[derive(Debug, Default)]
pub(super) struct Hello {
    mode: Option<String>,
    role: Option<String>,
}

impl Hello {
    /// Asks a server. If the server refuses to tell, nothing is known of it.
    pub(super) async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        match redis::cmd("HELLO").query_async(connection).await {
            Ok(reply) => Ok(Self::read(reply)),
            Err(error) if error.code().is_some() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(reply: Value) -> Self {
        let mut told: HashMap<String, Value> = redis::from_redis_value(reply).unwrap_or_default();
        let mut text = |name| told.remove(name).and_then(|text| redis::from_redis_value(text).ok());
        Self { mode: text("mode"), role: text("role") }
    }

    /// It is an error if the server is of a kind on which a layer would only seem to work.
    pub(super) fn check_mode(&self) -> Result<(), String> {
        match self.mode.as_deref() {
            // A node refuses the names of other nodes.
            Some("cluster") => {
                Err("this is a Redis Cluster, which is not supported: use one server, several \
                                    servers without cluster mode, a master with sentinels, or NATS"
                    .to_owned())
            }
            Some("sentinel") => Err("this is a sentinel: use RedisConfig::sentinel".to_owned()),
            _ => Ok(()),
        }
    }

    pub(super) fn is_replica(&self) -> bool {
        matches!(self.role.as_deref(), Some("replica" | "slave"))
    }
}
