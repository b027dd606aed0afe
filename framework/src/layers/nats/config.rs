//! What a layer on NATS is configured by.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use super::subjects::is_prefix;
use crate::layers::server::ServerConfig;

/// How many messages of one subscription the client may hold until they are looked at, which is at once: more than it can
/// read in one turn.
const CLIENT_MESSAGES: usize = 1 << 18;

/// The settings of [`NatsLayer`](super::NatsLayer).
///
/// | Setting | Default | The same in all processes |
/// |---|---|---|
/// | the servers | | of one cluster |
/// | [`prefix`](NatsConfig::prefix) | `greenroom` | yes |
/// | [`layer`](NatsConfig::layer) | [`LayerConfig`](crate::LayerConfig)'s | no: of a channel with a message the receiver's counts |
/// | [`away`](NatsConfig::away) | [`Away::Local`](super::Away::Local) | no |
/// | [`timeout`](NatsConfig::timeout) | 5 s | no |
/// | [`queue_bytes`](NatsConfig::queue_bytes) | 16 MiB | no |
///
/// Who connects says so by the URL, or by one of [`user_and_password`](NatsConfig::user_and_password), [`token`](NatsConfig::token) and
/// [`credentials`](NatsConfig::credentials).
pub type NatsConfig = ServerConfig<NatsSettings>;

/// What only NATS needs to be told.
#[derive(Clone)]
pub struct NatsSettings {
    servers: Vec<String>,
    login: Login,
    roots: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
}

/// Secrets: not for logs.
#[derive(Clone)]
enum Login {
    /// What stands in the URL.
    Url,
    User(String, String),
    Token(String),
    Credentials(String),
}

impl fmt::Debug for NatsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSettings").field("servers", &self.addresses()).finish_non_exhaustive()
    }
}

/// A setting with which no layer can be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum NatsConfigError {
    /// The credentials are none.
    Credentials(io::Error),
    /// The prefix is none with which a subject can start.
    Prefix(String),
    /// The threads of the layer could not be started.
    Thread(io::Error),
    /// A URL is none that can be used.
    Url {
        /// The URL's place in the list, from 0: the URL itself may hold a password.
        server: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for NatsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(_) => f.write_str(
                "the credentials cannot be used: give the text of a .creds file, with its JWT and its seed",
            ),
            Self::Prefix(prefix) => {
                write!(
                    f,
                    "the prefix {prefix:?} cannot start a subject: write words without spaces, `*` and `>`, with single dots between them"
                )
            }
            Self::Thread(_) => f.write_str("the threads of the NATS layer could not be started"),
            Self::Url { server, reason } => {
                write!(
                    f,
                    "the URL of NATS server {server} cannot be used: {reason}; write nats://[user:password@]host[:port] or tls://…"
                )
            }
        }
    }
}

impl std::error::Error for NatsConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Credentials(error) | Self::Thread(error) => Some(error),
            Self::Prefix(_) | Self::Url { .. } => None,
        }
    }
}

impl NatsConfig {
    /// A server: `nats://[user:password@]host[:port]`, `nats://token@host`, or `tls://…`, which insists on TLS.
    ///
    /// The port is 4222 where none is named. A server that asks for TLS gets it with `nats://` too.
    pub fn new(url: impl Into<String>) -> Self {
        let servers = vec![url.into()];
        let backend = NatsSettings { servers, login: Login::Url, roots: None, certificate: None };
        Self::with_backend(backend, "greenroom")
    }

    /// One more server of the same cluster, to connect to where another is away. User and password are the first one's.
    ///
    /// Those that the servers name themselves are known too.
    pub fn and_server(mut self, url: impl Into<String>) -> Self {
        self.backend.servers.push(url.into());
        self
    }

    /// Who connects.
    pub fn user_and_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.backend.login = Login::User(user.into(), password.into());
        self
    }

    /// The token by which who connects is known.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.backend.login = Login::Token(token.into());
        self
    }

    /// The text of a `.creds` file: the JWT of a user, and the seed of its key.
    pub fn credentials(mut self, text: impl Into<String>) -> Self {
        self.backend.login = Login::Credentials(text.into());
        self
    }

    /// Trusts only servers whose certificate goes back to one of those in this PEM file. Default: those that the system trusts.
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.backend.roots = Some(file.into());
        self
    }

    /// The certificate of this program and its key, each a PEM file, for servers that ask for one.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.backend.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Says what cannot be used.
    pub(super) fn check(&self) -> Result<(), NatsConfigError> {
        if !is_prefix(&self.common.prefix) {
            return Err(NatsConfigError::Prefix(self.common.prefix.clone()));
        }
        for (server, url) in self.backend.servers.iter().enumerate() {
            address(url).map_err(|reason| NatsConfigError::Url { server, reason })?;
        }
        if let Login::Credentials(text) = &self.backend.login {
            ConnectOptions::with_credentials(text).map_err(NatsConfigError::Credentials)?;
        }
        Ok(())
    }
}

impl NatsSettings {
    pub(super) fn servers(&self) -> Vec<ServerAddr> {
        self.servers.iter().filter_map(|url| address(url).ok()).collect()
    }

    /// Where the servers are, for texts: without a password.
    pub(super) fn addresses(&self) -> String {
        let one = |url: &String| match address(url) {
            Ok(address) => format!("{}:{}", address.host(), address.port()),
            Err(_) => "a malformed URL".to_owned(),
        };
        self.servers.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// How to connect to a server that has so long to answer.
    pub(super) fn options(&self, patience: Duration) -> io::Result<ConnectOptions> {
        let mut options = match &self.login {
            Login::Url => self.url_options(),
            Login::User(user, password) => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
            Login::Token(token) => ConnectOptions::with_token(token.clone()),
            Login::Credentials(text) => ConnectOptions::with_credentials(text)?,
        };
        if let Some(file) = &self.roots {
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options
            // Members here have the event already.
            .no_echo()
            .connection_timeout(patience)
            // The third that is not answered ends the connection.
            .ping_interval(patience / 3)
            .subscription_capacity(CLIENT_MESSAGES)
            .skip_subject_validation(true))
    }

    fn url_options(&self) -> ConnectOptions {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let first = self.servers().into_iter().find(|server| server.username().is_some());
        let Some(server) = first else { return ConnectOptions::new() };
        let user = decoded(server.username().unwrap_or_default());
        match server.password() {
            Some(password) => ConnectOptions::with_user_and_password(user, decoded(password)),
            // What NATS' own clients take a name without a password for.
            None => ConnectOptions::with_token(user),
        }
    }
}

fn address(url: &str) -> Result<ServerAddr, String> {
    if !url.starts_with("nats://") && !url.starts_with("tls://") {
        return Err("it does not start with nats:// or tls://".to_owned());
    }
    // The client's words do not hold the URL.
    let address = ServerAddr::from_str(url).map_err(|error| error.to_string())?;
    if address.host().is_empty() {
        return Err("there is no host".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_named_by_its_place_and_not_shown() {
        let config = NatsConfig::new("nats://localhost").and_server("http://secret@host");
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("server 1") && !error.contains("secret"), "{error}");
        for good in [
            "nats://127.0.0.1:4222",
            "nats://a:b@host",
            "tls://host",
            "nats://[::1]:4222",
            "nats://token@host",
        ] {
            NatsConfig::new(good).check().unwrap();
        }
        for bad in [
            "",
            "localhost:4222",
            "nats://",
            "nats://host:port",
            "ws://host",
            "redis://host",
            "nats://:secret@",
        ] {
            let error = NatsConfig::new(bad).check().unwrap_err();
            assert!(matches!(error, NatsConfigError::Url { server: 0, .. }), "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(matches!(NatsConfig::new("nats://h").prefix("a b").check(), Err(NatsConfigError::Prefix(_))));
        let error = NatsConfig::new("nats://h").credentials("secret").check().unwrap_err();
        assert!(matches!(error, NatsConfigError::Credentials(_)) && !format!("{error:?}").contains("secret"));
    }

    #[test]
    fn no_secret_is_shown() {
        let config = NatsConfig::new("nats://user:password@host:1").token("a-token");
        let shown = format!("{config:?}");
        assert!(
            shown.contains("host:1") && !shown.contains("password") && !shown.contains("a-token"),
            "{shown}"
        );
    }
}
