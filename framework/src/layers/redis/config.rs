//! What a layer on Redis is configured by.

use std::{fmt, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::codec::Codec;
use crate::{event::Format, layers::server::ServerConfig};

/// What a process calls its members in Redis' groups, with [`RedisLayer`](super::RedisLayer).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// Each member by the name of its own channel, as channels_redis does: Redis then knows who is in a group.
    ///
    /// Another program can count the members, send to each, and take one out: what other processes send then passes it by
    /// until the names are [written anew](RedisConfig::renew_every), what this process sends does not.
    ///
    /// It costs a command for each member that joins or leaves, and each `group_send` of any process reads all names. An
    /// event from elsewhere is handed to each member by itself, so a `#[relay]` runs once for each.
    Connection,
    /// One name for all members that a group has in this process.
    #[default]
    Process,
}

/// The settings of [`RedisLayer`](super::RedisLayer) and [`RedisPubSubLayer`](super::RedisPubSubLayer).
///
/// Those marked below must be the same in every process that shares the server, Django's `CHANNEL_LAYERS` included.
///
/// | Setting | Default | Shared | `CONFIG` of channels_redis |
/// |---|---|---|---|
/// | the hosts, in their order | | yes | `hosts` |
/// | [`prefix`](RedisConfig::prefix) | `asgi` | yes | `prefix` |
/// | [`serializer`](RedisConfig::serializer) | MessagePack | yes | `serializer_format` |
/// | [`random_prefix_length`](RedisConfig::random_prefix_length) | 12 | yes | `random_prefix_length` |
/// | [`encryption_keys`](RedisConfig::encryption_keys) | none | yes | `symmetric_encryption_keys` |
/// | [`layer`](RedisConfig::layer) | [`LayerConfig`](crate::LayerConfig)'s | no | `expiry`, `group_expiry`, `capacity`, `channel_capacity` |
/// | [`away`](RedisConfig::away) | [`Away::Local`](super::Away::Local) | no | |
/// | [`names`](RedisConfig::names) | [`Names::Process`] | no | |
/// | [`timeout`](RedisConfig::timeout) | 5 s | no | |
/// | [`renew_every`](RedisConfig::renew_every) | 10 min | no | |
/// | [`queue_bytes`](RedisConfig::queue_bytes) | 16 MiB | no | |
pub type RedisConfig = ServerConfig<RedisSettings>;

/// What only Redis needs to be told.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    pub(super) hosts: Vec<RedisHost>,
    random_prefix_length: usize,
    format: Format,
    keys: EncryptionKeys,
    /// Certificates in PEM that a server's may go back to, besides those of the system.
    pub(super) roots: Option<Vec<u8>>,
    pub(super) names: Names,
    renew_every: Duration,
}

/// Secrets: not for logs.
#[derive(Clone, Default)]
struct EncryptionKeys(Vec<Vec<u8>>);

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// Where one shard is.
#[derive(Clone)]
pub(super) enum RedisHost {
    Server(String),
    Sentinel { master: String, sentinels: Vec<String>, server: Option<String> },
}

impl RedisHost {
    /// The address, for texts: without a password.
    pub(super) fn address(&self) -> String {
        let one = |url: &str| match url.into_connection_info() {
            Ok(info) => match info.addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    format!("{host}:{port}")
                }
                ConnectionAddr::Unix(path) => path.display().to_string(),
                _ => "a server".to_owned(),
            },
            Err(_) => "a malformed URL".to_owned(),
        };
        match self {
            Self::Server(url) => one(url),
            Self::Sentinel { master, sentinels, .. } => {
                let all: Vec<_> = sentinels.iter().map(|url| one(url)).collect();
                format!("{master} of the sentinels {}", all.join(", "))
            }
        }
    }
}

impl fmt::Debug for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

/// A setting with which no layer can be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedisConfigError {
    /// The thread of the layer could not be started.
    Thread(std::io::Error),
    /// A URL is none that can be used.
    Url {
        /// The URL's place in the list, from 0: the URL itself may hold a password.
        host: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(_) => f.write_str("the thread of the Redis layer could not be started"),
            Self::Url { host, reason } => {
                write!(
                    f,
                    "the URL of Redis host {host} cannot be used: {reason}; write redis://[user:password@]host[:port][/database], rediss://… (feature `rustls`) or unix:///path"
                )
            }
        }
    }
}

impl std::error::Error for RedisConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Url { .. } => None,
        }
    }
}

impl RedisConfig {
    /// One server: `redis://[user:password@]host[:port][/database]`, `rediss://…` with TLS (feature `rustls`), or `unix:///path`.
    pub fn new(url: impl Into<String>) -> Self {
        Self::of(RedisHost::Server(url.into()))
    }

    /// Servers whose URLs stand in one text, with commas between them, as in an option of a program.
    pub fn servers(urls: &str) -> Self {
        let mut hosts = urls.split(',').map(|url| Self::new(url.trim()));
        let first = hosts.next().unwrap_or_else(|| Self::new(""));
        hosts.fold(first, Self::and_host)
    }

    /// The master that sentinels name; `sentinels` are URLs.
    ///
    /// The master is asked for anew at every connection. Its user, password and database are those of `server`, where that is given:
    /// a URL whose host and port do not count.
    pub fn sentinel(
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = impl Into<String>>,
        server: Option<&str>,
    ) -> Self {
        Self::of(RedisHost::Sentinel {
            master: master.into(),
            sentinels: sentinels.into_iter().map(Into::into).collect(),
            server: server.map(str::to_owned),
        })
    }

    fn of(host: RedisHost) -> Self {
        let backend = RedisSettings {
            hosts: vec![host],
            random_prefix_length: 12,
            format: Format::MsgPack,
            keys: EncryptionKeys::default(),
            roots: None,
            names: Names::default(),
            renew_every: Duration::from_secs(600),
        };
        Self::with_backend(backend, "asgi")
    }

    /// One more server: names are spread over all, as channels_redis does. All processes must name the same ones in the same order.
    pub fn and_host(mut self, other: Self) -> Self {
        self.backend.hosts.extend(other.backend.hosts);
        self
    }

    /// How messages are written. Default MessagePack.
    pub fn serializer(mut self, format: Format) -> Self {
        self.backend.format = format;
        self
    }

    /// How many random bytes stand before each message. Default 12. The pub/sub layer has none.
    ///
    /// They make equal messages of one moment two: with fewer than 8, one of them may be lost.
    pub fn random_prefix_length(mut self, bytes: usize) -> Self {
        self.backend.random_prefix_length = bytes.min(1024);
        self
    }

    /// Encrypts messages with the first of these keys, and opens those that were written with any of them.
    ///
    /// The keys of `symmetric_encryption_keys`, as they stand there. Names are not encrypted.
    pub fn encryption_keys(mut self, keys: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.backend.keys = EncryptionKeys(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Trusts a server whose certificate goes back to one of these, in PEM, besides those that the system trusts.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.backend.roots = Some(pem.into());
        self
    }

    /// What the members here are called in Redis' groups. Default [`Names::Process`]. The pub/sub layer has no names there.
    pub fn names(mut self, names: Names) -> Self {
        self.backend.names = names;
        self
    }

    /// How often the memberships of this process are written anew. Default 10 minutes, and at most a third of `group_expiry`.
    ///
    /// It repairs what another program deleted, as by Django's `flush`. It costs one command a group, and with
    /// [`Names::Connection`] one for each 512 of its members.
    pub fn renew_every(mut self, time: Duration) -> Self {
        self.backend.renew_every = time.max(Duration::from_secs(1));
        self
    }

    /// How often the memberships of this process are written anew.
    pub(super) fn renewal(&self) -> Duration {
        self.backend.renew_every.min(self.common.layer.group_expiry / 3).max(Duration::from_millis(100))
    }

    pub(super) fn core_codec(&self) -> Codec {
        let settings = &self.backend;
        let expiry = Some(self.common.layer.expiry);
        Codec::new(settings.format, settings.random_prefix_length, &settings.keys.0, expiry)
    }

    pub(super) fn pubsub_codec(&self) -> Codec {
        Codec::new(self.backend.format, 0, &self.backend.keys.0, None)
    }

    /// Where the shards are, for texts.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.backend.hosts.iter().map(RedisHost::address).collect()
    }

    /// Says which URL cannot be used.
    pub(super) fn check(&self) -> Result<(), RedisConfigError> {
        for (at, host) in self.backend.hosts.iter().enumerate() {
            let urls: Vec<&String> = match host {
                RedisHost::Server(url) => vec![url],
                RedisHost::Sentinel { sentinels, server, .. } => sentinels.iter().chain(server).collect(),
            };
            if urls.is_empty() {
                return Err(RedisConfigError::Url { host: at, reason: "there is no sentinel".into() });
            }
            for url in urls {
                let info: Result<ConnectionInfo, _> = url.as_str().into_connection_info();
                let wrong = match info {
                    Err(error) => Some(error.to_string()),
                    Ok(info) if !info.addr().is_supported() => {
                        Some("TLS needs the feature `rustls`".to_owned())
                    }
                    Ok(_) => None,
                };
                if let Some(reason) = wrong {
                    return Err(RedisConfigError::Url { host: at, reason });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_named_by_its_place_and_not_shown() {
        let config = RedisConfig::new("redis://localhost").and_host(RedisConfig::new("http://secret@host"));
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("host 1") && !error.contains("secret"), "{error}");
        for good in ["redis://127.0.0.1:6379/1", "redis://:password@host", "unix:///run/redis.sock"] {
            RedisConfig::new(good).check().unwrap();
        }
        for bad in ["", "localhost:6379", "redis://", "redis://host:port", "redis://host/x"] {
            assert!(RedisConfig::new(bad).check().is_err(), "{bad}");
        }
        assert!(RedisConfig::sentinel("master", [""; 0], None).check().is_err());
    }

    #[test]
    fn no_secret_is_shown() {
        let config = RedisConfig::new("redis://:password@host:1/2").encryption_keys(["a-key"]);
        let shown = format!("{config:?}");
        assert!(
            shown.contains("host:1") && !shown.contains("password") && !shown.contains("a-key"),
            "{shown}"
        );
    }
}
