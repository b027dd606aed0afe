//! Where the servers are, and how they are reached.

use std::fmt;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// The place of one shard.
#[derive(Clone)]
pub(super) enum RedisHost {
    Server(RedisUrl),
    Sentinel {
        /// The name that the sentinels know the master by.
        name: String,
        sentinels: Vec<RedisUrl>,
        /// The login, the database and the security of the master. Its address comes from the sentinels.
        master: RedisUrl,
    },
}

impl RedisHost {
    /// The address for texts, without a password.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Server(url) => url.address(),
            Self::Sentinel { name, sentinels, .. } => {
                let all: Vec<_> = sentinels.iter().map(RedisUrl::address).collect();
                format!("{name} of the sentinels {}", all.join(", "))
            }
        }
    }

    /// It is an error if a URL is invalid, or if it has a setting that would be ignored in its place.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Server(url) => url.info().map(drop),
            Self::Sentinel { sentinels, master, .. } => {
                if sentinels.is_empty() {
                    return Err("the list of sentinels is empty".to_owned());
                }
                for sentinel in sentinels {
                    if sentinel.info()?.redis_settings().db() != 0 {
                        return Err("a sentinel has no databases: leave out the number".to_owned());
                    }
                }
                match master.info()?.addr() {
                    ConnectionAddr::Unix(_) => {
                        Err("a master behind sentinels has no Unix socket: write redis:// or rediss://"
                            .to_owned())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Whether one of the connections to this host has TLS.
    #[cfg(feature = "rustls")]
    pub(super) fn has_tls(&self) -> bool {
        match self {
            Self::Server(url) => url.has_tls(),
            Self::Sentinel { sentinels, master, .. } => {
                master.has_tls() || sentinels.iter().any(RedisUrl::has_tls)
            }
        }
    }

    /// Trusts these root certificates on each connection with TLS.
    #[cfg(feature = "rustls")]
    pub(super) fn trust(&mut self, roots: &[u8]) -> Result<(), String> {
        match self {
            Self::Server(url) => url.trust(roots),
            Self::Sentinel { sentinels, master, .. } => {
                sentinels.iter_mut().chain([master]).try_for_each(|url| url.trust(roots))
            }
        }
    }
}

impl fmt::Debug for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

/// What a URL says, or why it is invalid.
#[derive(Clone)]
pub(super) struct RedisUrl(Result<ConnectionInfo, String>);

impl RedisUrl {
    pub(super) fn new(url: &str) -> Self {
        Self(parsed(url.trim()))
    }

    pub(super) fn info(&self) -> Result<&ConnectionInfo, String> {
        self.0.as_ref().map_err(Clone::clone)
    }

    /// A client of this server.
    pub(super) fn client(&self) -> Result<Client, String> {
        Client::open(self.info()?.clone()).map_err(|error| error.to_string())
    }

    /// A client of the server at another address. All else is as this URL says.
    pub(super) fn client_at(&self, host: String, port: u16) -> Result<Client, String> {
        let info = self.info()?;
        let address = match info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(info.clone().set_addr(address)).map_err(|error| error.to_string())
    }

    pub(super) fn has_tls(&self) -> bool {
        self.0.as_ref().is_ok_and(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. }))
    }

    /// The address for texts, without a password.
    pub(super) fn address(&self) -> String {
        match self.0.as_ref().map(ConnectionInfo::addr) {
            // This form has no login.
            Ok(address) => address.to_string(),
            Err(_) => "a malformed URL".to_owned(),
        }
    }

    #[cfg(feature = "rustls")]
    fn trust(&mut self, roots: &[u8]) -> Result<(), String> {
        if let Ok(info) = &mut self.0
            && matches!(info.addr(), ConnectionAddr::TcpTls { .. })
        {
            let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(roots.to_vec()) };
            let client = Client::build_with_tls(info.clone(), certificates);
            *info = client.map_err(|error| error.to_string())?.get_connection_info().clone();
        }
        Ok(())
    }
}

/// Reads a URL. No error shows a part of it, because any part may belong to a password that is written wrong.
fn parsed(url: &str) -> Result<ConnectionInfo, String> {
    let none = |reason: &str| Err(reason.to_owned());
    let Some(parsed) = redis::parse_redis_url(url) else {
        return none("it is not a URL of Redis");
    };
    let is_unix = parsed.scheme().ends_with("unix");
    match parsed.fragment() {
        Some("insecure") => {
            return none("TLS without a check of the certificate is not supported: leave out #insecure");
        }
        Some(_) => return none("it has a `#`: in a password, write %23"),
        None => {}
    }
    // The client would ignore an option that it does not know.
    let known: &[&str] = if is_unix { &["db", "pass", "protocol", "user"] } else { &["protocol"] };
    if parsed.query_pairs().any(|(name, _)| !known.contains(&&*name)) {
        let known = known.join(", ");
        return Err(format!("after the `?` only these are known: {known}; in a password, write %3F"));
    }
    if is_unix && (!parsed.username().is_empty() || parsed.password().is_some()) {
        return none("the login for a Unix socket stands at the end: ?user=…&pass=…");
    }
    if !is_unix && !cfg!(feature = "rustls") && ["rediss", "valkeys"].contains(&parsed.scheme()) {
        return none("TLS needs the feature `rustls`");
    }
    let info = url.into_connection_info().map_err(|error| match error.detail() {
        // The detail may be a part of the URL.
        Some(_) => "an option after the `?` has a wrong value".to_owned(),
        None => error.to_string(),
    })?;
    let login = info.redis_settings();
    if login.username().is_some() && login.password().is_none() {
        // The client would not log in.
        return none("it has a user, but no password; before a password alone stands a `:`");
    }
    if !info.addr().is_supported() {
        return none("this system has no such connections");
    }
    Ok(info)
}
