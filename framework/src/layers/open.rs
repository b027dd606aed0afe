//! Makes a layer from a URL, for example from an option of the command line.

use std::{fmt, path::PathBuf};

#[cfg(feature = "nats")]
use super::nats::{NatsConfig, NatsConfigError, NatsLayer};
#[cfg(feature = "redis")]
use super::redis::{RedisConfig, RedisConfigError, RedisLayer, RedisPubSubLayer};
#[cfg(any(feature = "nats", feature = "redis"))]
use super::server::{Away, ServerConfig, ServerLayer};
use super::{Layer, LayerConfig, LayerError, MemoryLayer};
use crate::event::Format;

/// Why no layer could be opened for a URL.
///
/// [`Layer::open`](crate::Layer::open) has an example.
#[non_exhaustive]
pub enum OpenError {
    /// The URL of a NATS server cannot be used.
    #[cfg(feature = "nats")]
    Nats(NatsConfigError),
    /// The URL of a Redis server cannot be used.
    #[cfg(feature = "redis")]
    Redis(RedisConfigError),
    /// The history file of the layer in memory can never work.
    HistoryFile(std::io::Error),
    /// No layer has this scheme, or the feature that adds the layer is off. The scheme is empty if the URL has none.
    Scheme(String),
    /// The layer does not have this setting. [`OpenOptions`] says which layer has which.
    Setting {
        /// The layer.
        layer: &'static str,
        /// The setting.
        setting: &'static str,
    },
    /// The server cannot be reached.
    Unavailable(LayerError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats(_) => f.write_str("the layer cannot be made"),
            #[cfg(feature = "redis")]
            Self::Redis(_) => f.write_str("the layer cannot be made"),
            Self::HistoryFile(_) => f.write_str("the layer cannot be made"),
            Self::Scheme(scheme) => {
                if scheme.is_empty() {
                    f.write_str("the URL of the layer has no scheme: write memory")?;
                } else {
                    write!(f, "no layer has the scheme {scheme:?}: write memory")?;
                }
                let nats = (cfg!(feature = "nats"), ", nats://…", "; NATS needs the feature `nats`");
                let redis = (
                    cfg!(feature = "redis"),
                    ", redis://…, redis-pubsub://…",
                    "; Redis needs the feature `redis`",
                );
                let mut servers = [nats, redis];
                // The available layers come first.
                servers.sort_by_key(|(available, ..)| !available);
                servers.iter().try_for_each(|(available, url, feature)| {
                    f.write_str(if *available { url } else { feature })
                })
            }
            Self::Setting { layer, setting } => write!(f, "{layer} has no {setting}: leave it out"),
            Self::Unavailable(_) => f.write_str("the layer does not work"),
        }
    }
}

crate::causes::debug_shows_causes!(OpenError);

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats(error) => Some(error),
            #[cfg(feature = "redis")]
            Self::Redis(error) => Some(error),
            Self::HistoryFile(error) => Some(error),
            Self::Scheme(_) | Self::Setting { .. } => None,
            Self::Unavailable(error) => Some(error),
        }
    }
}

/// Settings for [`Layer::open_with`], whichever layer the URL names.
///
/// The layer in memory uses only [`layer`](Self::layer) and [`history_file`](Self::history_file). NATS has no serializer and no keys: with one of
/// these it is not opened. The configuration of each layer has more settings.
///
/// ```
/// use greenroom::{Layer, LayerConfig, layers::OpenOptions};
///
/// # async fn open() -> greenroom::Result<Layer> {
/// let options = OpenOptions::new().prefix("shop").layer(LayerConfig::new().capacity(1_000));
/// Ok(Layer::open_with("redis://127.0.0.1:6379", options).await?)
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct OpenOptions {
    config: LayerConfig,
    prefix: Option<String>,
    serializer: Option<Format>,
    keys: Vec<Vec<u8>>,
    must: bool,
    history_file: Option<PathBuf>,
}

impl OpenOptions {
    /// The defaults of each layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Capacities and lifetimes.
    pub fn layer(mut self, config: LayerConfig) -> Self {
        self.config = config;
        self
    }

    /// The text with which all keys, topics or subjects on the server start.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// How messages are written. Only the layers on Redis have a choice.
    pub fn serializer(mut self, format: Format) -> Self {
        self.serializer = Some(format);
        self
    }

    /// Encrypts messages with the first of these keys, and opens those of any. Only for the layers on Redis.
    pub fn encryption_keys(mut self, keys: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Makes a `group_send` fail if the server does not take it, as `Away::Error` does.
    pub fn must_publish(mut self) -> Self {
        self.must = true;
        self
    }

    /// The file in which the layer in memory keeps the history of its groups over a restart.
    ///
    /// See [`MemoryLayer::history_file`]. The other layers do not use it, because their server keeps the history.
    pub fn history_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.history_file = Some(path.into());
        self
    }

    #[cfg(feature = "nats")]
    fn nats(self, urls: &str) -> Result<NatsConfig, OpenError> {
        let none = |setting| Err(OpenError::Setting { layer: "NATS", setting });
        if !self.keys.is_empty() {
            // Without this error, a program that gave a key would believe that its messages are encrypted.
            return none("encryption key");
        }
        if self.serializer.is_some() {
            return none("serializer");
        }
        let mut servers = urls.split(',').map(str::trim);
        let first = NatsConfig::new(servers.next().unwrap_or_default());
        let config = servers.fold(first, NatsConfig::and_server);
        Ok(self.common(config))
    }

    #[cfg(feature = "redis")]
    fn redis(mut self, urls: &str, is_pubsub: bool) -> Result<RedisConfig, OpenError> {
        let mut servers = Vec::new();
        for (host, url) in urls.split(',').map(str::trim).enumerate() {
            // Without a scheme it is no URL, and the configuration says so.
            let scheme = scheme(url).unwrap_or_default();
            let plain = scheme.strip_suffix("-pubsub");
            if plain.is_some() != is_pubsub && !scheme.is_empty() {
                let reason = "all servers of a layer must have the same scheme".to_owned();
                return Err(OpenError::Redis(RedisConfigError::Url { host, reason }));
            }
            servers.push(format!("{}{}", plain.unwrap_or(&scheme), &url[scheme.len()..]));
        }
        let mut config =
            RedisConfig::servers(&servers.join(",")).encryption_keys(std::mem::take(&mut self.keys));
        if let Some(format) = self.serializer {
            config = config.serializer(format);
        }
        Ok(self.common(config))
    }

    #[cfg(any(feature = "nats", feature = "redis"))]
    fn common<B>(self, config: ServerConfig<B>) -> ServerConfig<B> {
        let mut config = config.layer(self.config);
        if let Some(prefix) = self.prefix {
            config = config.prefix(prefix);
        }
        if self.must { config.away(Away::Error) } else { config }
    }
}

impl fmt::Debug for OpenOptions {
    /// Leaves out the keys, which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Layer {
    /// Opens the layer of a URL with the default settings, as for a `--layer` option.
    ///
    /// It returns when the layer is connected to its server.
    ///
    /// | URL | Layer |
    /// |---|---|
    /// | `memory` | [`MemoryLayer`] |
    /// | `nats://…`, `tls://…` | `NatsLayer` (feature `nats`) |
    /// | `redis://…`, `rediss://…`, `unix://…` | `RedisLayer` (feature `redis`) |
    /// | `redis-pubsub://…`, `rediss-pubsub://…` | `RedisPubSubLayer` (feature `redis`) |
    ///
    /// For several servers, write their URLs with commas between them, in the same order in all processes. In a
    /// user or password, write a comma as `%2C`.
    ///
    /// # Errors
    /// [`OpenError`] if the URL names no layer, or if the first attempt to reach the server fails.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, OpenOptions::new()).await
    }

    /// As [`open`](Self::open), with some settings.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(url: &str, options: OpenOptions) -> Result<Self, OpenError> {
        let url = url.trim();
        if url.eq_ignore_ascii_case("memory") {
            let layer = MemoryLayer::with_config(options.config);
            return match options.history_file {
                Some(path) => layer.history_file(path).map(Self::from).map_err(OpenError::HistoryFile),
                None => Ok(layer.into()),
            };
        }
        let scheme = scheme(url).unwrap_or_default();
        match scheme.as_str() {
            #[cfg(feature = "nats")]
            "nats" | "tls" => opened(NatsLayer::new(options.nats(url)?).map_err(OpenError::Nats)?).await,
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "unix" => {
                opened(RedisLayer::new(options.redis(url, false)?).map_err(OpenError::Redis)?).await
            }
            #[cfg(feature = "redis")]
            "redis-pubsub" | "rediss-pubsub" => {
                opened(RedisPubSubLayer::new(options.redis(url, true)?).map_err(OpenError::Redis)?).await
            }
            _ => Err(OpenError::Scheme(scheme)),
        }
    }
}

/// The scheme of a URL, in small letters.
///
/// Nothing else counts as a scheme, because errors show it, and a password may stand in its place.
fn scheme(url: &str) -> Option<String> {
    let (scheme, _) = url.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|each| each.is_ascii_alphanumeric() || "+-.".contains(each));
    is_scheme.then(|| scheme.to_ascii_lowercase())
}

/// Waits until a layer is connected to its server.
#[cfg(any(feature = "nats", feature = "redis"))]
async fn opened<D>(layer: ServerLayer<D>) -> Result<Layer, OpenError>
where
    ServerLayer<D>: Into<Layer>,
{
    layer.ready().await.map_err(OpenError::Unavailable)?;
    Ok(layer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_history_file_that_can_never_work_is_an_error() {
        let options = OpenOptions::new().history_file("/");
        let error = Layer::open_with("memory", options).await.unwrap_err();
        assert_eq!(error.to_string(), "the layer cannot be made");
        assert!(
            matches!(error, OpenError::HistoryFile(reason) if reason.to_string().starts_with("the history file /"))
        );
    }

    #[cfg(feature = "nats")]
    #[actix_web::test]
    async fn a_key_for_a_layer_without_encryption_is_refused() {
        let options = OpenOptions::new().encryption_keys(["a-key"]);
        let error = Layer::open_with("nats://127.0.0.1:1", options).await.unwrap_err();
        assert_eq!(error.to_string(), "NATS has no encryption key: leave it out");
        let options = OpenOptions::new().serializer(Format::Json);
        assert!(matches!(
            Layer::open_with("nats://127.0.0.1:1", options).await,
            Err(OpenError::Setting { setting: "serializer", .. })
        ));
    }

    #[actix_web::test]
    async fn the_error_for_an_unknown_layer_shows_no_secret() {
        Layer::open("memory").await.unwrap();
        Layer::open(" Memory\n").await.unwrap();
        for wrong in [
            "",
            "secret",
            "user:secret@host",
            "user:secret@redis://host",
            "redis:secret@host",
            "secret,redis://host",
            "amqp://user:secret@host",
        ] {
            let error = Layer::open(wrong).await.unwrap_err();
            assert!(matches!(error, OpenError::Scheme(_)));
            assert!(error.to_string().contains("memory") && !error.to_string().contains("secret"), "{error}");
        }
    }
}
