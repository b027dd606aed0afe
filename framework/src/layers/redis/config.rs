//! The settings of the layers on Redis.

use std::{fmt, time::Duration};

use super::{
    codec::Codec,
    hosts::{RedisHost, RedisUrl},
};
use crate::{event::Format, layers::server::ServerConfig};

/// How [`RedisLayer`](super::RedisLayer) names the members of this process in Redis' groups.
///
/// ```
/// use greenroom::layers::redis::{Names, RedisConfig};
///
/// let config = RedisConfig::new("redis://127.0.0.1:6379").names(Names::Connection);
/// ```
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
/// | [`timeout`](RedisConfig::timeout) | 3 s | no | |
/// | [`renew_every`](RedisConfig::renew_every) | 10 min | no | |
/// | [`queue_bytes`](RedisConfig::queue_bytes) | 16 MiB | no | |
///
/// ```
/// use std::time::Duration;
///
/// use greenroom::{Layer, LayerConfig, layers::redis::{RedisConfig, RedisLayer}};
///
/// # fn layer() -> greenroom::Result<Layer> {
/// let config = RedisConfig::new("redis://10.0.0.1:6379/1")
///     .prefix("shop")
///     .layer(LayerConfig::new().capacity(1_000))
///     .timeout(Duration::from_secs(2));
/// Ok(RedisLayer::new(config)?.into())
/// # }
/// ```
pub type RedisConfig = ServerConfig<RedisSettings>;

/// The settings that only Redis has.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    pub(super) hosts: Vec<RedisHost>,
    random_prefix_length: usize,
    format: Format,
    keys: EncryptionKeys,
    /// The only root certificates that are trusted, in PEM, if not those of the system.
    roots: Option<Vec<u8>>,
    pub(super) names: Names,
    renew_every: Duration,
    /// The first host that was added with settings of its own, which would be ignored.
    stray: Option<usize>,
}

/// The keys. They are secrets, and are not shown in logs.
#[derive(Clone, Default, PartialEq, Eq)]
struct EncryptionKeys(Vec<Vec<u8>>);

impl fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// Why a layer on Redis cannot be made.
///
/// [`RedisLayer`](super::RedisLayer) has an example of the settings.
#[non_exhaustive]
pub enum RedisConfigError {
    /// A setting cannot be used, or would be ignored.
    Setting(String),
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
            Self::Setting(reason) => write!(f, "a setting of the Redis layer cannot be used: {reason}"),
            Self::Thread(_) => f.write_str("a thread of the Redis layer could not be started"),
            Self::Url { host, reason } => {
                write!(
                    f,
                    "the URL of Redis host {host} is invalid: {reason}; write redis://[user:password@]host[:port][/database], rediss://… (feature `rustls`) or unix:///path, and in a password %2C for a comma and %40 for an `@`"
                )
            }
        }
    }
}

crate::causes::debug_shows_causes!(RedisConfigError);

impl std::error::Error for RedisConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Setting(_) | Self::Url { .. } => None,
        }
    }
}

impl RedisConfig {
    /// Uses the server with this URL.
    ///
    /// The URL is `redis://[user:password@]host[:port][/database]`, `rediss://…` with TLS (feature `rustls`),
    /// or `unix:///path`. In a user or password, write `%2C` for a comma, and `%40`, `%2F`, `%3F` and `%23` for
    /// `@`, `/`, `?` and `#`. A Unix socket has its login and database at the end:
    /// `unix:///path?user=ann&pass=secret&db=1`.
    pub fn new(url: impl Into<String>) -> Self {
        Self::of(RedisHost::Server(RedisUrl::new(&url.into())))
    }

    /// Uses several servers. Their URLs are in one text, with commas between them, as in an option of a
    /// program.
    pub fn servers(urls: &str) -> Self {
        let hosts = urls.split(',').map(Self::new);
        hosts.reduce(Self::and_host).unwrap_or_else(|| Self::new(""))
    }

    /// Uses the master that sentinels name. `sentinels` are their URLs.
    ///
    /// The sentinels are asked for the master at every connection. `rediss://` in a sentinel's URL means TLS to
    /// this sentinel, with the user and the password of that URL.
    ///
    /// User, password and database of the master are those in the URL `server`, if it is given. `rediss://` there
    /// means TLS to the master. Host and port of that URL are ignored. Without `server`, there is TLS to the master
    /// if a sentinel has TLS. The master's certificate must name the address that the sentinels give: an IP
    /// address, or a name if the sentinels have the setting `announce-hostnames`.
    pub fn sentinel(
        master: impl Into<String>,
        sentinels: impl IntoIterator<Item = impl Into<String>>,
        server: Option<&str>,
    ) -> Self {
        let sentinels: Vec<_> = sentinels.into_iter().map(|url| RedisUrl::new(&url.into())).collect();
        let tls = sentinels.iter().any(RedisUrl::has_tls);
        let server = server.unwrap_or(if tls { "rediss://master" } else { "redis://master" });
        Self::of(RedisHost::Sentinel { name: master.into(), sentinels, master: RedisUrl::new(server) })
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
            stray: None,
        };
        Self::with_backend(backend, "asgi")
    }

    /// Adds one more server. Names are spread over all servers, as in channels_redis.
    ///
    /// All processes must have the same servers in the same order. Settings belong to the whole configuration: the
    /// layer is not made if `other` has settings that this configuration does not have.
    pub fn and_host(mut self, other: Self) -> Self {
        let default = Self::new("");
        let is_same = other.settings() == self.settings() || other.settings() == default.settings();
        let stray = other.backend.stray.or((!is_same).then_some(0));
        self.backend.stray = self.backend.stray.or(stray.map(|at| at + self.backend.hosts.len()));
        self.backend.hosts.extend(other.backend.hosts);
        self
    }

    /// All settings except the hosts.
    fn settings(&self) -> impl PartialEq + '_ {
        let RedisSettings {
            hosts: _,
            random_prefix_length,
            format,
            keys,
            roots,
            names,
            renew_every,
            stray: _,
        } = &self.backend;
        (&self.common, random_prefix_length, format, keys, roots, names, renew_every)
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
    /// Give the keys as they stand in `symmetric_encryption_keys`. Names are not encrypted. An empty key is an
    /// error when the layer is made.
    pub fn encryption_keys(mut self, keys: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.backend.keys = EncryptionKeys(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Trusts only these root certificates, in PEM. By default, those of the system are trusted.
    ///
    /// They hold for each connection with TLS: to every server, every sentinel, and the master behind sentinels.
    /// It is an error when the layer is made if they are no certificates, or if a host has no TLS.
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

    /// Makes the hosts ready to connect.
    ///
    /// It is an error if a setting is invalid, or if one would be ignored.
    pub(super) fn checked(self) -> Result<Self, RedisConfigError> {
        for (host, place) in self.backend.hosts.iter().enumerate() {
            place.check().map_err(|reason| RedisConfigError::Url { host, reason })?;
        }
        if let Some(host) = self.backend.stray {
            return Err(RedisConfigError::Setting(format!(
                "host {host} was added with settings of its own: give them to the whole configuration, before or after `and_host`"
            )));
        }
        if self.backend.keys.0.iter().any(Vec::is_empty) {
            return Err(RedisConfigError::Setting("an encryption key is empty".to_owned()));
        }
        #[cfg(feature = "rustls")]
        return self.secured();
        #[cfg(not(feature = "rustls"))]
        Ok(self)
    }

    /// Makes the connections with TLS use the root certificates.
    #[cfg(feature = "rustls")]
    fn secured(mut self) -> Result<Self, RedisConfigError> {
        use tokio_rustls::rustls::{
            crypto::ring,
            pki_types::{CertificateDer, pem::PemObject as _},
        };
        let wrong = RedisConfigError::Setting;
        if self.backend.hosts.iter().any(RedisHost::has_tls) {
            // If several crypto providers are compiled in, rustls chooses none by itself. A provider that the
            // program has installed stays.
            let _ = ring::default_provider().install_default();
        }
        let Some(roots) = &self.backend.roots else { return Ok(self) };
        if CertificateDer::pem_slice_iter(roots).next().is_none() {
            return Err(wrong("there is no root certificate in PEM".to_owned()));
        }
        if let Some(host) = self.backend.hosts.iter().position(|host| !host.has_tls()) {
            return Err(wrong(format!(
                "there are root certificates, but host {host} has no TLS: write rediss://"
            )));
        }
        for host in &mut self.backend.hosts {
            host.trust(roots).map_err(|reason| wrong(format!("the root certificates: {reason}")))?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
