//! Parses `scheme://host:port`, whole or in parts.

use std::net::Ipv6Addr;

/// A scheme and an authority, in lower case.
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
        Some(Self { scheme: scheme.to_ascii_lowercase(), authority: Authority::parse(authority)? })
    }

    /// The port, or the scheme's default port.
    pub(super) fn port(&self) -> Option<u16> {
        self.authority.port.or_else(|| default_port(&self.scheme))
    }
}

impl Authority {
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
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
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
        ] {
            let site = Site::parse(text).unwrap();
            assert_eq!((site.authority.host.as_str(), site.port()), (host, port), "{text}");
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
