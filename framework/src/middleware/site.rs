//! Parses `scheme://host:port`, whole or in parts.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// A scheme and an authority, in lower case. The scheme of a WebSocket is `http` or `https` here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) scheme: String,
    pub(super) authority: Authority,
}

/// A host, and a port if one was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// In lower case. An IPv6 address stands in brackets, in its short form.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Site {
    /// Parses what browsers send as `Origin`. `None` for `null`, and if anything follows the authority.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        is_scheme.then_some(())?;
        Some(Self { scheme: known_scheme(scheme), authority: Authority::parse(authority)? })
    }

    /// The port, or the scheme's default port.
    pub(super) fn port(&self) -> Option<u16> {
        self.authority.port.or_else(|| default_port(&self.scheme))
    }
}

/// Shows the site as browsers write it, and as a list of allowed hosts takes it.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority.host)?;
        match self.authority.port {
            Some(port) if Some(port) != default_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

impl Authority {
    /// Parses `host` or `host:port`. A dot at the end of the host is left out: it changes nothing in what the name means.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
                (format!("[{address}]"), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (text.to_ascii_lowercase(), None),
            },
        };
        let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
        let is_name = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
        };
        let is_host = !host.is_empty() && host.bytes().all(is_name);
        is_host.then_some(())?;
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// Whether nobody can make this host stand for another machine by DNS.
    ///
    /// That is so for addresses, and for `localhost` and the names below it (RFC 6761, section 6.3).
    pub(super) fn is_beyond_dns(&self) -> bool {
        let host = self.host.as_str();
        host.starts_with('[')
            || host.parse::<Ipv4Addr>().is_ok()
            || host.strip_suffix("localhost").is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

/// A scheme in lower case. `ws` and `wss` become `http` and `https`.
///
/// Some clients, such as those of iOS, take their `Origin` from the URL of the WebSocket. Both schemes name the same site.
pub(super) fn known_scheme(scheme: &str) -> String {
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => "http".to_owned(),
        "wss" => "https".to_owned(),
        other => other.to_owned(),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_read_in_lower_case_with_their_ports() {
        for (text, host, port) in [
            ("HTTP://Example.COM", "example.com", Some(80)),
            ("https://example.com", "example.com", Some(443)),
            ("wss://a_b:8443", "a_b", Some(8443)),
            ("http://[2001:DB8:0::1]:80", "[2001:db8::1]", Some(80)),
            ("http://[::1]", "[::1]", Some(80)),
            ("chrome-extension://abc", "abc", None),
            ("http://Example.com.:8000", "example.com", Some(8000)),
        ] {
            let site = Site::parse(text).unwrap();
            assert_eq!((site.authority.host.as_str(), site.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn addresses_and_localhost_are_beyond_dns() {
        for (text, expected) in [
            ("localhost", true),
            ("LocalHost.:8000", true),
            ("app.localhost:8000", true),
            ("127.0.0.1:8000", true),
            ("192.0.2.1", true),
            ("[::1]:8000", true),
            ("evil.example", false),
            ("notlocalhost", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("127.1", false),
            ("0x7f000001", false),
            ("localhost.localdomain", false),
        ] {
            assert_eq!(Authority::parse(text).unwrap().is_beyond_dns(), expected, "{text}");
        }
    }

    #[test]
    fn malformed_sites_are_refused() {
        for text in [
            "",
            "null",
            "example.com",
            "://x",
            "http://",
            "http:///",
            "http://a/",
            "http://a b",
            "http://u@a",
            "http://.",
            "1a://x",
            "http://a:",
            "http://a:x",
            "http://a:+1",
            "http://a:65536",
            "http://[::1",
            "http://[::1]x",
            "http://[x]",
            "http://::1",
            "http://a http://b",
            "http://caf\u{e9}",
        ] {
            assert_eq!(Site::parse(text), None, "{text:?}");
        }
    }
}
