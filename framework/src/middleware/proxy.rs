//! Takes the client's address, scheme and host from what trusted proxies say.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;

use super::{Middleware, Rejection, forwarded, site::Authority};
use crate::{Error, Result, Scope, scope::Scheme};

/// How many entries of a list are read. In a longer list the last entry that was read counts as the client.
pub(super) const MOST_HOPS: usize = 32;

/// Takes the client's address, scheme and host from headers of trusted proxies.
///
/// The host is the one that the client asked for. You list the proxies that are trusted.
///
/// Each proxy appends the address that it got the request from to a list in a header. This middleware reads that
/// list from the right and skips the addresses of trusted proxies. The first other address is the client. Anyone
/// can write what stands left of that. Daphne's `--proxy-headers` takes the leftmost address, which any client can
/// choose, and has no list of trusted proxies.
///
/// By default `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` are read. After
/// [`forwarded`](Self::forwarded), `Forwarded` (RFC 7239) is read instead. The two are never mixed, because a proxy
/// passes on a header that it does not know as the client wrote it. For the same reason **the proxy must set or
/// remove each of the three**. If it passes on `X-Forwarded-Host` as the client wrote it, call
/// [`ignore_host`](Self::ignore_host).
///
/// - Headers of a peer that is not in the list are ignored.
/// - If `X-Forwarded-Proto` or `-Host` has as many entries as `-For`, the entry at the same place is read,
///   otherwise the last entry.
/// - Reading stops at an entry that cannot be read, at `unknown` and at an obfuscated name. The last address before
///   it is then the peer. At most 32 entries are read.
/// - The client's port is 0 if the proxy does not say it. Unlike in Daphne, `X-Forwarded-Port` is not read: most
///   proxies write their own port into it.
///
/// An entry of the list of trusted proxies is an address, a network such as `10.0.0.0/8`, or `unix` for peers on a
/// Unix socket. An invalid entry is an error when the router is built.
///
/// ```
/// use greenroom::{UrlRouter, middleware::TrustedProxies};
///
/// let router = UrlRouter::new().wrap(TrustedProxies::new(["10.0.0.0/8", "127.0.0.1", "::1"]));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct TrustedProxies {
    networks: Vec<Network>,
    unix: bool,
    header: ProxyHeader,
    ignore_host: bool,
    errors: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProxyHeader {
    Forwarded,
    XForwarded,
}

#[derive(Debug, Clone, Copy)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// What one proxy says about the peer that it got the request from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hop<'a> {
    /// `None` if it cannot be read.
    pub(super) client: Option<SocketAddr>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<&'a str>,
}

impl TrustedProxies {
    /// Trusts these addresses and networks, and reads `X-Forwarded-*` from them.
    pub fn new<P: AsRef<str>>(proxies: impl IntoIterator<Item = P>) -> Self {
        let mut trusted = Self {
            networks: Vec::new(),
            unix: false,
            header: ProxyHeader::XForwarded,
            ignore_host: false,
            errors: Vec::new(),
        };
        for proxy in proxies {
            let text = proxy.as_ref();
            match Network::parse(text) {
                _ if text == "unix" => trusted.unix = true,
                Some(network) => trusted.networks.push(network),
                None => trusted.errors.push(format!(
                    "the trusted proxy {text:?} is invalid: write an address, a network such as 10.0.0.0/8, or unix"
                )),
            }
        }
        trusted
    }

    /// Reads `Forwarded` (RFC 7239) instead of `X-Forwarded-*`.
    pub fn forwarded(mut self) -> Self {
        self.header = ProxyHeader::Forwarded;
        self
    }

    /// Ignores the host that a proxy says, and keeps the request's own `Host`.
    pub fn ignore_host(mut self) -> Self {
        self.ignore_host = true;
        self
    }

    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.networks.iter().any(|network| network.contains(peer)))
    }

    /// Finds the client's address, if it is known, and the outermost hop that a trusted proxy wrote.
    fn client_and_outermost<'a>(&self, hops: Vec<Hop<'a>>) -> (Option<SocketAddr>, Option<Hop<'a>>) {
        let (mut client, mut outermost) = (None, None);
        for hop in hops {
            outermost = Some(hop);
            let Some(address) = hop.client else { break };
            client = Some(address);
            if !self.trusts(Some(address.ip())) {
                break;
            }
        }
        (client, outermost)
    }
}

#[async_trait(?Send)]
impl Middleware for TrustedProxies {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        if !self.trusts(scope.peer().map(|peer| peer.ip())) {
            return Ok(());
        }
        let (client, outermost) = match self.header {
            ProxyHeader::Forwarded => self.client_and_outermost(forwarded::forwarded(scope)),
            ProxyHeader::XForwarded => self.client_and_outermost(forwarded::x_forwarded(scope)),
        };
        let scheme = outermost.and_then(|hop| hop.scheme);
        let host = outermost.and_then(|hop| hop.host).filter(|host| Authority::parse(host).is_some());
        let host = host.filter(|_| !self.ignore_host).map(str::to_owned);
        if client.is_some() {
            scope.set_peer(client);
        }
        if let Some(scheme) = scheme {
            scope.set_scheme(scheme);
        }
        if let Some(host) = host {
            scope.set_host(&host);
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::msg(self.errors.join("\n"))) }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => most,
        };
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address is in the network. An IPv4 address in IPv6 form (`::ffff:10.0.0.1`) counts as IPv4.
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{UrlRouter, middleware::SameOrigin, scope::ScopeBuilder};

    fn builder() -> ScopeBuilder {
        Scope::builder("/").header("host", "inner").peer("10.0.0.1:5000".parse().unwrap())
    }

    fn apply(trusted: &TrustedProxies, builder: ScopeBuilder) -> Scope {
        let mut scope = builder.build();
        trusted.handle(&mut scope).now_or_never().unwrap().unwrap();
        scope
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "127.0.0.1", "2001:db8:ff::/48"])
    }

    /// The peer that `X-Forwarded-For` gives.
    fn peer(list: &str) -> String {
        apply(&trusted(), builder().header("x-forwarded-for", list)).peer().unwrap().to_string()
    }

    /// Daphne's `test_xff` and `TestXForwardedForHttpParsing`, with the differences: the client is the rightmost
    /// address that is not a trusted proxy, not the leftmost one; the port comes from the list, not from
    /// `X-Forwarded-Port`.
    #[test]
    fn upstream_x_forwarded_for() {
        let with_port = builder().header("x-forwarded-for", "10.1.2.3").header("x-forwarded-port", "1234");
        assert_eq!(apply(&trusted(), with_port).peer(), Some("10.1.2.3:0".parse().unwrap()), "basic");
        assert_eq!(peer("10.1.2.3"), "10.1.2.3:0", "address only");
        assert_eq!(peer("1043::a321:0001"), "[1043::a321:1]:0", "IPv6");
        assert_eq!(peer("10.1.2.3, 10.1.2.4"), "10.1.2.3:0", "all trusted: the leftmost");
        assert_eq!(
            peer("192.0.2.9, 192.0.2.7, 10.1.2.4"),
            "192.0.2.7:0",
            "Daphne: 192.0.2.9, which anyone can write"
        );
        let none = apply(&trusted(), builder());
        assert_eq!(none.peer(), Some("10.0.0.1:5000".parse().unwrap()), "no header: the original is kept");
        assert_eq!((none.host(), none.known_scheme()), (Some("inner"), Scheme::Unknown));
    }

    #[test]
    fn headers_of_other_peers_are_ignored() {
        let lies = |builder: ScopeBuilder| {
            builder
                .header("x-forwarded-for", "127.0.0.1")
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-host", "evil")
                .header("forwarded", "for=127.0.0.1;host=evil;proto=https")
        };
        for trusted in [trusted(), trusted().forwarded()] {
            let peer = "192.0.2.1:1".parse().unwrap();
            let scope = apply(&trusted, lies(Scope::builder("/").header("host", "inner")).peer(peer));
            assert_eq!((scope.peer(), scope.host(), scope.scheme()), (Some(peer), Some("inner"), "http"));
            let scope = apply(&trusted, lies(Scope::builder("/").header("host", "inner")));
            assert_eq!(
                (scope.peer(), scope.host()),
                (None, Some("inner")),
                "a Unix socket that is not trusted"
            );
        }
    }

    #[test]
    fn scheme_and_host_are_those_of_the_outermost_trusted_proxy() {
        let forwarded = builder()
            .header("x-forwarded-for", "9.9.9.9, 192.0.2.7")
            .header("x-forwarded-for", "10.1.1.1")
            .header("x-forwarded-proto", "x, https, http")
            .header("x-forwarded-host", "evil, chat.example:8443, mid")
            .header("origin", "https://chat.example:8443");
        let mut scope = apply(&trusted(), forwarded.clone());
        assert_eq!(scope.peer(), Some("192.0.2.7:0".parse().unwrap()));
        assert_eq!((scope.scheme(), scope.host()), ("https", Some("chat.example:8443")));
        assert_eq!(scope.header("host"), Some("inner"));
        assert!(SameOrigin::new().handle(&mut scope).now_or_never().unwrap().is_ok());
        assert_eq!(apply(&trusted().ignore_host(), forwarded).host(), Some("inner"));

        let shorter =
            builder().header("x-forwarded-for", "192.0.2.7, 10.1.1.1").header("x-forwarded-proto", "WSS");
        assert_eq!(apply(&trusted(), shorter).scheme(), "https", "one entry counts for all");
        let alone = builder().header("x-forwarded-proto", "http").header("x-forwarded-host", "a");
        let scope = apply(&trusted(), alone);
        assert_eq!((scope.known_scheme(), scope.host()), (Scheme::Http, Some("a")));
        assert_eq!(scope.peer(), Some("10.0.0.1:5000".parse().unwrap()));
    }

    #[test]
    fn forwarded_is_read_by_rfc_7239() {
        let read = |value: &str| apply(&trusted().forwarded(), builder().header("forwarded", value));
        let scope = read(
            "for=9.9.9.9;host=evil, For=\"[2001:DB8::1]:4711\";Proto=https;HOST=\"chat.example\", for=10.1.1.1;proto=http",
        );
        assert_eq!(scope.peer(), Some("[2001:db8::1]:4711".parse().unwrap()));
        assert_eq!((scope.scheme(), scope.host()), ("https", Some("chat.example")));
        let scope = read("for=\"open, for=192.0.2.7;by=10.0.0.1;proto=https");
        assert_eq!((scope.peer(), scope.scheme()), (Some("192.0.2.7:0".parse().unwrap()), "https"));
        for unknown in
            ["for=unknown", "for=_hidden", "for=\"_hidden:80\"", "for=", "for", "", ";;,,=", "proto=gopher"]
        {
            let scope = read(unknown);
            assert_eq!(scope.peer(), Some("10.0.0.1:5000".parse().unwrap()), "{unknown}");
            assert_eq!(scope.known_scheme(), Scheme::Unknown, "{unknown}");
        }
        assert_eq!(read("for=9.9.9.9, for=unknown, for=10.1.1.1").peer().unwrap().to_string(), "10.1.1.1:0");
        let other = builder().header("x-forwarded-for", "192.0.2.7");
        assert_eq!(
            apply(&trusted().forwarded(), other).peer().unwrap().to_string(),
            "10.0.0.1:5000",
            "the two are never mixed"
        );
    }

    #[test]
    fn malformed_values_are_ignored_and_work_is_bounded() {
        assert_eq!(peer("9.9.9.9, garbage"), "10.0.0.1:5000");
        assert_eq!(peer("9.9.9.9, garbage, 10.3.3.3"), "10.3.3.3:0");
        let many = ["192.0.2.7"].into_iter().chain(["10.1.1.1"; 40]).collect::<Vec<_>>().join(",");
        assert_eq!(peer(&many), "10.1.1.1:0");
        let bytes = builder().header("x-forwarded-for", &b"\xff, 192.0.2.7"[..]);
        assert_eq!(apply(&trusted(), bytes).peer().unwrap().to_string(), "192.0.2.7:0");
        let host = builder().header("x-forwarded-for", "192.0.2.7").header("x-forwarded-host", "a b/");
        assert_eq!(apply(&trusted(), host).host(), Some("inner"));
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("2001:db8:ff::/48", "2001:db8:ff:1::1", true),
            ("2001:db8:ff::/48", "2001:db8:fe::1", false),
        ] {
            let contains = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{network} {address}");
        }
        let unix =
            apply(&TrustedProxies::new(["unix"]), Scope::builder("/").header("x-forwarded-for", "192.0.2.7"));
        assert_eq!(unix.peer().unwrap().to_string(), "192.0.2.7:0");
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error_at_the_start() {
        for proxy in ["", "localhost", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "::/129", "10.0.0.0/8/8"] {
            let text = UrlRouter::new().wrap(TrustedProxies::new([proxy])).build().unwrap_err().to_string();
            assert!(text.starts_with(&format!("the trusted proxy {proxy:?} is invalid")), "{text}");
        }
    }
}
