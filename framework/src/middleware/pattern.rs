//! Parses and matches what users write to allow a host or an origin.

use super::site::{Authority, Site, known_scheme};
use crate::{Error, Result};

/// A list of allowed hosts, with the mistakes in it.
#[derive(Debug, Clone, Default)]
pub(super) struct HostList {
    patterns: Vec<HostPattern>,
    errors: Vec<String>,
}

/// One entry of a list of allowed hosts.
#[derive(Debug, Clone)]
pub(super) enum HostPattern {
    Any,
    Host {
        scheme: Option<String>,
        authority: Authority,
        below: bool,
    },
    /// An origin without a host, in lower case: `null`, or a scheme alone such as `file://`.
    Opaque(String),
}

impl HostList {
    /// Parses each text of a list with `parse`.
    pub(super) fn new<P: AsRef<str>>(
        texts: impl IntoIterator<Item = P>,
        parse: impl Fn(&str) -> Result<HostPattern, String>,
    ) -> Self {
        let mut list = Self::default();
        for text in texts {
            match parse(text.as_ref()) {
                Ok(pattern) => list.patterns.push(pattern),
                Err(error) => list.errors.push(error),
            }
        }
        list
    }

    /// Appends another list.
    pub(super) fn extend(&mut self, more: Self) {
        self.patterns.extend(more.patterns);
        self.errors.extend(more.errors);
    }

    pub(super) fn any(&self, matches: impl Fn(&HostPattern) -> bool) -> bool {
        self.patterns.iter().any(matches)
    }

    /// All mistakes as one error.
    pub(super) fn check(&self) -> Result<()> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::msg(self.errors.join("\n"))) }
    }
}

impl HostPattern {
    /// Parses a pattern. The error says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let error = |fix: &str| Err(format!("the allowed host {text:?} is invalid: {fix}"));
        if text == "*" {
            return Ok(Self::Any);
        }
        if is_opaque(text) {
            return Ok(Self::Opaque(text.to_ascii_lowercase()));
        }
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, authority)) => (Some(known_scheme(scheme)), authority),
            None => (None, text),
        };
        if let Some(host) = authority.strip_prefix("*.") {
            return error(&format!("write \".{host}\" for the host and all hosts below it"));
        }
        let (host, below) = match authority.strip_prefix('.') {
            Some(host) => (host, true),
            None => (authority, false),
        };
        match Authority::parse(host) {
            Some(authority) => Ok(Self::Host { scheme, authority, below }),
            None if text.contains('*') => {
                error("write `*` alone, or \".host\" for a host and all hosts below it")
            }
            None if host.contains('/') => error("leave the path out: browsers do not send it"),
            None => error(
                "write host, .host, host:port or scheme://host:port, with IPv6 in brackets and other scripts in punycode",
            ),
        }
    }

    /// Parses a pattern that stands beside the own host, so that it does not stand for every host.
    pub(super) fn parse_other(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            Self::Any => Err(format!(
                "the allowed host {text:?} is invalid: for pages of every site write AllowedHostsOriginValidator::new([\"*\"])"
            )),
            pattern => Ok(pattern),
        }
    }

    /// Parses a pattern for the name in a `Host`, which has no scheme. A port would be of no use.
    pub(super) fn parse_name(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            Self::Host { scheme: None, authority: Authority { port: None, .. }, .. } | Self::Any => {
                Self::parse(text)
            }
            Self::Host { .. } | Self::Opaque(_) => Err(format!(
                "the allowed host {text:?} is invalid: write host or .host, without a scheme and without a port"
            )),
        }
    }

    /// Whether a page of this site matches.
    pub(super) fn matches(&self, site: &Site) -> bool {
        let Self::Host { scheme, authority, .. } = self else { return matches!(self, Self::Any) };
        let port_fits = match (scheme, authority.port) {
            (Some(scheme), _) => {
                let own = Site { scheme: scheme.clone(), authority: authority.clone() };
                *scheme == site.scheme && own.port() == site.port()
            }
            (None, Some(_)) => authority.port == site.port(),
            (None, None) => true,
        };
        port_fits && self.matches_name(&site.authority)
    }

    /// Whether the host matches, whatever its port.
    pub(super) fn matches_name(&self, sent: &Authority) -> bool {
        let (authority, below) = match self {
            Self::Any => return true,
            Self::Host { authority, below, .. } => (authority, *below),
            Self::Opaque(_) => return false,
        };
        let is_below = || sent.host.strip_suffix(&authority.host).is_some_and(|front| front.ends_with('.'));
        sent.host == authority.host || below && is_below()
    }
}

/// Whether this is an origin without a host: `null`, or a scheme alone.
///
/// Browsers send these for files, for pages in a sandbox, and for what an app made of its own. A page of the web always
/// has a host.
pub(super) fn is_opaque(text: &str) -> bool {
    let scheme = text.strip_suffix("://").unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    text.eq_ignore_ascii_case("null")
        || is_scheme && !matches!(known_scheme(scheme).as_str(), "http" | "https")
}
