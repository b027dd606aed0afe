//! The settings of the layers on Redis.

use std::{fmt, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::codec::Codec;
use crate::{event::Format, layers::server::ServerConfig};

/// How [`RedisLayer`](super::RedisLayer) names the members of this process in Redis' groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// Each member has the name of its own channel, as in channels_redis. Redis then has all members of a
    /// group.
    ///
    /// Another program can count the members, send to each of them, and take one out. That member then misses
    /// what other processes send until the names are [written again](RedisConfig::renew_every). It does not
    /// miss what this process sends.
    ///
    /// This costs a command for each member that joins or leaves, and each `group_send` of any process reads
    /// all names. An event from another process is handed to each member separately, so a `#[relay]` runs
    /// once for each member.
    Connection,
    /// All members that a group has in this process have one name together.
    #[default]
    Process,
}

/// The settings of [`RedisLayer`](super::RedisLayer) and [`RedisPubSubLayer`](super::RedisPubSubLayer).
///
/// The settings that are marked as shared must be the same in every process that shares the server, and in
/// Django's `CHANNEL_LAYERS`.
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

/// The settings that only Redis has.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    pub(super) hosts: Vec<RedisHost>,
    random_prefix_length: usize,
    format: Format,
    keys: EncryptionKeys,
    /// Root certificates in PEM that are trusted, besides those of the system.
    pub(super) roots: Option<Vec<u8>>,
    pub(super) names: Names,
    renew_every: Duration,
}

/// The keys. They are secrets, and are not shown in logs.
#[derive(Clone, Default)]
struct EncryptionKeys(Vec<Vec<u8>>);

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// The place of one shard.
#[derive(Clone)]
pub(super) enum RedisHost {
    Server(String),
    Sentinel { master: String, sentinels: Vec<String>, server: Option<String> },
}

impl RedisHost {
    /// The address for texts, without a password.
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

/// Why a layer on Redis cannot be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedisConfigError {
    /// A thread of the layer could not be started.
    Thread(std::io::Error),
    /// A URL is invalid.
    Url {
        /// The URL's place in the list, from 0. The URL itself is not shown, because it may contain a
        /// password.
        host: usize,
        /// Why the URL is invalid.
        reason: String,
    },
}

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(_) => f.write_str("a thread of the Redis layer could not be started"),
            Self::Url { host, reason } => {
                write!(
                    f,
                    "the URL of Redis host {host} is invalid: {reason}; write redis://[user:password@]host[:port][/database], rediss://… (feature `rustls`) or unix:///path"
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
    /// Uses the server with this URL.
    ///
    /// The URL is `redis://[user:password@]host[:port][/database]`, `rediss://…` with TLS (feature `rustls`),
    /// or `unix:///path`.
    pub fn new(url: impl Into<String>) -> Self {
        Self::of(RedisHost::Server(url.into()))
    }

    /// Uses several servers. Their URLs are in one text, with commas between them, as in an option of a
    /// program.
    pub fn servers(urls: &str) -> Self {
        let mut hosts = urls.split(',').map(|url| Self::new(url.trim()));
        let first = hosts.next().unwrap_or_else(|| Self::new(""));
        hosts.fold(first, Self::and_host)
    }

    /// Uses the master that sentinels name. `sentinels` are their URLs.
    ///
    /// The sentinels are asked for the master at every connection. User, password and database of the master
    /// are those in the URL `server`, if it is given. Host and port of that URL are ignored.
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

    /// Adds one more server. Names are spread over all servers, as in channels_redis.
    ///
    /// All processes must have the same servers in the same order.
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
    /// They make a difference between two equal messages of the same moment. With fewer than 8, one of the
    /// two may be lost.
    pub fn random_prefix_length(mut self, bytes: usize) -> Self {
        self.backend.random_prefix_length = bytes.min(1024);
        self
    }

    /// Encrypts messages with the first of these keys, and opens those of any key.
    ///
    /// Give the keys as they stand in `symmetric_encryption_keys`. Names are not encrypted.
    pub fn encryption_keys(mut self, keys: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.backend.keys = EncryptionKeys(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Trusts these root certificates, in PEM, besides those that the system trusts.
    #[cfg(feature = "rustls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "rustls")))]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.backend.roots = Some(pem.into());
        self
    }

    /// How the members of this process are named in Redis' groups. Default [`Names::Process`].
    ///
    /// The pub/sub layer has no names in Redis.
    pub fn names(mut self, names: Names) -> Self {
        self.backend.names = names;
        self
    }

    /// How often the memberships of this process are written again. Default: 10 minutes.
    ///
    /// It is at least a second, and at most a third of `group_expiry`. It repairs memberships that another
    /// program deleted, for example by Django's `flush`. It costs one command for each group, and with
    /// [`Names::Connection`] one for each 512 of its members.
    pub fn renew_every(mut self, time: Duration) -> Self {
        self.backend.renew_every = time.max(Duration::from_secs(1));
        self
    }

    /// How often the memberships of this process are written again, within the bounds.
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

    /// The addresses of the shards, for texts.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.backend.hosts.iter().map(RedisHost::address).collect()
    }

    /// It is an error if a URL is invalid.
    pub(super) fn check(&self) -> Result<(), RedisConfigError> {
        for (at, host) in self.backend.hosts.iter().enumerate() {
            let urls: Vec<&String> = match host {
                RedisHost::Server(url) => vec![url],
                RedisHost::Sentinel { sentinels, server, .. } => sentinels.iter().chain(server).collect(),
            };
            if urls.is_empty() {
                return Err(RedisConfigError::Url {
                    host: at,
                    reason: "the list of sentinels is empty".into(),
                });
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
