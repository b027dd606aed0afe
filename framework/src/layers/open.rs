//! A layer from a word on the command line.

use std::fmt;

#[cfg(feature = "redis")]
use super::redis::{RedisConfig, RedisConfigError, RedisLayer, RedisPubSubLayer};
use super::{Layer, LayerError, MemoryLayer};

/// Why there is no layer for a URL.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL of a Redis server cannot be used.
    #[cfg(feature = "redis")]
    Redis(RedisConfigError),
    /// No layer has this scheme, or the feature is off that brings it.
    Scheme(String),
    /// The server cannot be reached.
    Unavailable(LayerError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(_) => f.write_str("no layer can be made"),
            Self::Scheme(scheme) => {
                let redis = if cfg!(feature = "redis") {
                    ", redis://… or redis-pubsub://…"
                } else {
                    "; Redis needs the feature `redis`"
                };
                write!(f, "there is no layer {scheme:?}: write memory{redis}")
            }
            Self::Unavailable(_) => f.write_str("the layer does not work"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(error) => Some(error),
            Self::Scheme(_) => None,
            Self::Unavailable(error) => Some(error),
        }
    }
}

impl Layer {
    /// The layer of a URL, with the default settings, when its server is there: for a `--layer` option.
    ///
    /// | URL | Layer |
    /// |---|---|
    /// | `memory` | [`MemoryLayer`] |
    /// | `redis://…`, `rediss://…`, `unix://…` | `RedisLayer` (feature `redis`) |
    /// | `redis-pubsub://…`, `rediss-pubsub://…` | `RedisPubSubLayer` (feature `redis`) |
    ///
    /// Several servers are written with commas between their URLs, in the order that all processes have.
    ///
    /// # Errors
    /// [`OpenError`], where there is no such layer, or the first attempt to reach its server fails.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        if url == "memory" {
            return Ok(MemoryLayer::new().into());
        }
        let scheme = url.split_once("://").map_or(url, |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "unix" => {
                let layer = RedisLayer::new(config(url)).map_err(OpenError::Redis)?;
                layer.ready().await.map_err(OpenError::Unavailable)?;
                Ok(layer.into())
            }
            #[cfg(feature = "redis")]
            "redis-pubsub" | "rediss-pubsub" => {
                let url = url.replace("-pubsub://", "://");
                let layer = RedisPubSubLayer::new(config(&url)).map_err(OpenError::Redis)?;
                layer.ready().await.map_err(OpenError::Unavailable)?;
                Ok(layer.into())
            }
            // Only the scheme: behind it there may be a password.
            other => Err(OpenError::Scheme(other.to_owned())),
        }
    }
}

#[cfg(feature = "redis")]
fn config(urls: &str) -> RedisConfig {
    let mut hosts = urls.split(',').map(RedisConfig::new);
    let first = hosts.next().unwrap_or_else(|| RedisConfig::new(""));
    hosts.fold(first, RedisConfig::and_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn what_is_no_layer_is_said_without_its_secrets() {
        Layer::open("memory").await.unwrap();
        for wrong in ["", "Memory", "amqp://user:secret@host"] {
            let error = Layer::open(wrong).await.unwrap_err();
            assert!(matches!(error, OpenError::Scheme(_)));
            assert!(error.to_string().contains("memory") && !error.to_string().contains("secret"), "{error}");
        }
    }
}
