//! The settings of the layer on NATS.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use async_nats::{
    ConnectOptions, ServerAddr,
    rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use percent_encoding::percent_decode_str;

use super::{jetstream::JetStream, subjects::is_prefix};
use crate::layers::server::ServerConfig;

/// How many messages of one subscription the client may hold until they are taken.
///
/// They are taken at once. So this is more than the client can read in one turn.
const CLIENT_MESSAGES: usize = 1 << 18;

/// The settings of [`NatsLayer`](super::NatsLayer).
///
/// | Setting | Default | The same in all processes |
/// |---|---|---|
/// | the servers | | of one cluster |
/// | [`prefix`](NatsConfig::prefix) | `greenroom` | yes |
/// | [`layer`](NatsConfig::layer) | [`LayerConfig`](crate::LayerConfig)'s | no: for a message to a channel, the receiver's limits hold |
/// | [`away`](NatsConfig::away) | [`Away::Local`](super::Away::Local) | no |
/// | [`timeout`](NatsConfig::timeout) | 3 s | no |
/// | [`queue_bytes`](NatsConfig::queue_bytes) | 16 MiB | no |
/// | [`jetstream`](NatsConfig::jetstream) | [`JetStream`]'s | yes |
/// | [`history_key`](NatsConfig::history_key) | kept in JetStream | yes |
///
/// The login is in the URL, or is set by one of [`user_and_password`](NatsConfig::user_and_password),
/// [`token`](NatsConfig::token) and [`credentials`](NatsConfig::credentials).
///
/// ```
/// use greenroom::{Layer, LayerConfig, layers::nats::{NatsConfig, NatsLayer}};
///
/// # fn layer() -> greenroom::Result<Layer> {
/// let config = NatsConfig::new("nats://10.0.0.1:4222").prefix("shop").layer(LayerConfig::new().capacity(1_000));
/// Ok(NatsLayer::new(config)?.into())
/// # }
/// ```
pub type NatsConfig = ServerConfig<NatsSettings>;

/// The settings that only NATS has.
#[derive(Clone)]
pub struct NatsSettings {
    servers: Vec<String>,
    login: Login,
    roots: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    pub(super) jetstream: JetStream,
    pub(super) key: Option<[u8; 32]>,
}

/// How to log in. It contains secrets, and has no `Debug`.
#[derive(Clone)]
enum Login {
    /// With the user and password, or the token, in the URL.
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

/// Why a layer on NATS cannot be made.
///
/// [`NatsLayer`](super::NatsLayer) has an example of the settings.
#[non_exhaustive]
pub enum NatsConfigError {
    /// The credentials cannot be parsed.
    Credentials(io::Error),
    /// The prefix cannot start a subject.
    Prefix(String),
    /// A setting cannot be used, or would be ignored.
    Setting(String),
    /// A thread of the layer could not be started.
    Thread(io::Error),
    /// A URL is invalid.
    Url {
        /// The URL's place in the list, from 0. The URL itself is not shown, because it may contain a
        /// password.
        server: usize,
        /// Why the URL is invalid.
        reason: String,
    },
}

impl fmt::Display for NatsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(_) => f.write_str(
                "the credentials cannot be parsed: give the text of a .creds file, with its JWT and its seed",
            ),
            Self::Prefix(prefix) => {
                write!(
                    f,
                    "the prefix {prefix:?} cannot start a subject: write words without spaces, `*` and `>`, with single dots between them"
                )
            }
            Self::Setting(reason) => write!(f, "a setting of the NATS layer cannot be used: {reason}"),
            Self::Thread(_) => f.write_str("a thread of the NATS layer could not be started"),
            Self::Url { server, reason } => {
                write!(
                    f,
                    "the URL of NATS server {server} is invalid: {reason}; write nats://[user:password@]host[:port] or tls://…, and in a password %2C for a comma and %40 for an `@`"
                )
            }
        }
    }
}

crate::causes::debug_shows_causes!(NatsConfigError);

impl std::error::Error for NatsConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Credentials(error) | Self::Thread(error) => Some(error),
            Self::Prefix(_) | Self::Setting(_) | Self::Url { .. } => None,
        }
    }
}

impl NatsConfig {
    /// Uses the server with this URL.
    ///
    /// The URL is `nats://[user:password@]host[:port]`, `nats://token@host`, or `tls://…`. The default port is
    /// 4222.
    ///
    /// The layer insists on TLS if one URL is `tls://…`, or if a certificate is set. This holds for all servers,
    /// also for those that a server names. Otherwise there is TLS if the server asks for it.
    pub fn new(url: impl Into<String>) -> Self {
        let servers = vec![url.into()];
        let backend = NatsSettings {
            servers,
            login: Login::Url,
            roots: None,
            certificate: None,
            jetstream: JetStream::new(),
            key: None,
        };
        Self::with_backend(backend, "greenroom")
    }

    /// Adds one more server of the same cluster, which is used if another is away.
    ///
    /// All servers have the same user and password: those of the URL that has them. Servers of the cluster that a
    /// server names are used too.
    pub fn and_server(mut self, url: impl Into<String>) -> Self {
        self.backend.servers.push(url.into());
        self
    }

    /// Logs in with this user and password.
    pub fn user_and_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.backend.login = Login::User(user.into(), password.into());
        self
    }

    /// Logs in with this token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.backend.login = Login::Token(token.into());
        self
    }

    /// Logs in with the text of a `.creds` file.
    ///
    /// The file contains the JWT of a user, and the seed of its key.
    pub fn credentials(mut self, text: impl Into<String>) -> Self {
        self.backend.login = Login::Credentials(text.into());
        self
    }

    /// Trusts only the root certificates in this PEM file. By default, those of the system are trusted.
    ///
    /// The layer then insists on TLS.
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.backend.roots = Some(file.into());
        self
    }

    /// Shows this certificate to servers that ask for one. The certificate and its key are PEM files.
    ///
    /// The layer then insists on TLS.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.backend.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// How JetStream keeps the groups' [history](crate::LayerConfig::history). Without a policy it is not used.
    pub fn jetstream(mut self, settings: JetStream) -> Self {
        self.backend.jetstream = settings;
        self
    }

    /// The secret with which a process signs the places that its clients may name when they come back.
    ///
    /// All processes must have the same. By default the first process makes one, and keeps it in JetStream, in a stream
    /// of its own. A secret that is set here needs no such stream.
    pub fn history_key(mut self, key: [u8; 32]) -> Self {
        self.backend.key = Some(key);
        self
    }

    /// It is an error if a setting is invalid.
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
        self.backend.check_logins()?;
        self.backend.check_certificates()
    }
}

impl NatsSettings {
    /// There is one login for all servers. Another one would be ignored.
    fn check_logins(&self) -> Result<(), NatsConfigError> {
        let setting = |reason: &str| Err(NatsConfigError::Setting(reason.to_owned()));
        let servers = self.servers();
        let login = |server: &ServerAddr| {
            server.username().map(|user| (user.to_owned(), server.password().map(str::to_owned)))
        };
        let mut logins = servers.iter().filter_map(login);
        let Some(first) = logins.next() else { return Ok(()) };
        if !matches!(self.login, Login::Url) {
            return setting("there is a login in a URL, and another one beside it");
        }
        if logins.any(|other| other != first) {
            return setting("the URLs have different logins, and all servers of a cluster get the same");
        }
        Ok(())
    }

    /// The client would find a fault in these files only when it connects.
    fn check_certificates(&self) -> Result<(), NatsConfigError> {
        let setting = |file: &PathBuf, why: String| {
            NatsConfigError::Setting(format!("the certificates in {}: {why}", file.display()))
        };
        let certificate = self.certificate.as_ref().map(|(certificate, _)| certificate);
        for file in self.roots.iter().chain(certificate) {
            let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match found {
                Ok(found) if found.is_empty() => {
                    return Err(setting(file, "there are none in PEM".to_owned()));
                }
                Ok(_) => {}
                Err(error) => return Err(setting(file, error.to_string())),
            }
        }
        if let Some((_, key)) = &self.certificate {
            PrivateKeyDer::from_pem_file(key).map_err(|error| setting(key, error.to_string()))?;
        }
        Ok(())
    }

    /// Whether no server may be reached without TLS.
    fn insists_on_tls(&self) -> bool {
        self.roots.is_some()
            || self.certificate.is_some()
            || self.servers().iter().any(ServerAddr::tls_required)
    }

    pub(super) fn servers(&self) -> Vec<ServerAddr> {
        self.servers.iter().filter_map(|url| address(url).ok()).collect()
    }

    /// The addresses of the servers for texts, without a password.
    pub(super) fn addresses(&self) -> String {
        let one = |url: &String| match address(url) {
            Ok(address) => format!("{}:{}", address.host(), address.port()),
            Err(_) => "a malformed URL".to_owned(),
        };
        self.servers.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The options of a connection. `patience` is the time that the server may take to answer.
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
            // Without this, the login would go in clear text to a server that does not ask for TLS, such as one
            // that another server names.
            .require_tls(self.insists_on_tls())
            // Members in this process have the event already.
            .no_echo()
            .connection_timeout(patience)
            // The third ping without an answer ends the connection.
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
            // NATS' own clients also take a name without a password for a token.
            None => ConnectOptions::with_token(user),
        }
    }
}

fn address(url: &str) -> Result<ServerAddr, String> {
    let none = |reason: &str| Err(reason.to_owned());
    let url = url.trim();
    if !url.contains("://") {
        return none("it does not start with nats:// or tls://");
    }
    // The client's error text does not contain the URL.
    let address = ServerAddr::from_str(url).map_err(|error| error.to_string())?;
    if !["nats", "tls"].contains(&address.scheme()) {
        return none("it does not start with nats:// or tls://");
    }
    if address.host().is_empty() {
        return none("it has no host");
    }
    if address.username().is_none() && address.password().is_some() {
        // The client would not log in.
        return none("it has a password, but no user");
    }
    let url = address.clone().into_inner();
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return none(
            "nothing may follow the port; in a password, write %2F, %3F and %23 for `/`, `?` and `#`",
        );
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
            " NATS://host/\n",
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
            "nats://:secret@host",
            "nats://user:12/secret@host",
            "nats://user:12?secret@host",
            "nats://user:12#secret@host",
            "tls://host?tls_verify=secret",
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
    fn a_setting_that_would_be_ignored_is_refused() {
        let new = NatsConfig::new;
        for bad in [
            new("nats://ann:secret@a").and_server("nats://bob:secret@b"),
            new("nats://a").and_server("nats://ann:secret@b").and_server("nats://ann@c"),
            new("nats://ann:secret@a").token("secret"),
            new("nats://secret@a").user_and_password("ann", "secret"),
            new("tls://a").root_certificates("/nowhere/root.pem"),
            new("tls://a").root_certificates("/dev/null"),
            new("tls://a").client_certificate("/dev/null", "/dev/null"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(matches!(error, NatsConfigError::Setting(_)), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let one = new("nats://ann:secret@a").and_server("nats://b").and_server("nats://ann:secret@c");
        one.check().unwrap();
        assert!(!one.backend.insists_on_tls());
        assert!(one.and_server("tls://d").backend.insists_on_tls());
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
