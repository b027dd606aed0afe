//! Checks whether the page that connects is of an allowed site.
//!
//! Browsers let any page open a WebSocket to any host, and send the host's cookies with it. Only the `Origin`
//! header says which site a page is from.

use async_trait::async_trait;

use super::{
    Middleware, Rejection,
    pattern::{HostPattern, is_opaque},
    site::{Authority, Site},
};
use crate::{Error, Result, Scope, scope::Scheme, shown::Shown};

/// Lets pages of the listed hosts connect, and no others.
///
/// It has the same name in Channels.
///
/// | Pattern | Allows |
/// |---|---|
/// | `example.com` | this host, with every scheme and port |
/// | `example.com:8443` | this host and port, with every scheme; Channels ignores the port here |
/// | `.example.com` | this host and all hosts below it |
/// | `https://example.com` | this scheme, host and port; if no port is written, 80 for http, 443 for https |
/// | `https://.example.com:8443` | this scheme and port, this host and all hosts below it |
/// | `null` | pages without a site: files, and frames in a sandbox. Any site can put a page of its own into a sandbox |
/// | `file://`, `content://` | pages that send this scheme alone, as those of some apps do |
/// | `*` | every client, even if it sends no `Origin` |
///
/// In patterns and origins `ws` is the same as `http`, and `wss` the same as `https`.
///
/// Without `*`, a missing or malformed `Origin` is denied, and an empty list denies everyone, as in Channels. Case
/// does not matter. An IPv6 address stands in brackets. On the routes of [HTTP consumers](crate::UrlRouter::http) a
/// GET or HEAD without an `Origin` is let in: browsers send no `Origin` with such a request to the page's own site.
///
/// An invalid pattern, such as `*.example.com`, matches nothing and is an error when the router is built. A denied
/// client is answered 403, and a warning in the log says what to change.
///
/// If it has let in a page of a listed host, the `Host` of the request is not checked any more. Without an `Origin`, and
/// with `*`, it is checked as [`AllowedHosts`](super::AllowedHosts) says.
#[derive(Debug, Clone)]
pub struct AllowedHostsOriginValidator {
    patterns: Vec<HostPattern>,
    errors: Vec<String>,
}

/// Lets pages of the request's own host connect.
///
/// This is the default: if neither an [`AllowedHostsOriginValidator`] nor a `SameOrigin` has run for a connection,
/// a `SameOrigin` runs after all middleware. `AllowedHostsOriginValidator::new(["*"])` switches it off.
///
/// The `Origin` must have the host and the port of the request's `Host`. The scheme is compared too if the scheme
/// of the request is known: because this server does TLS itself, or because a [trusted
/// proxy](super::TrustedProxies) says so. A `Host` without a port stands for the default port of the origin's
/// scheme.
///
/// The `Host` is what the page's address says, so it is no proof alone: with **DNS rebinding** the owner of a site lets its
/// name stand for the address of your server, and both headers then have that name. So the `Host` is checked as well.
/// Which hosts are allowed is said at [`AllowedHosts`](super::AllowedHosts). On a server that others reach by a name,
/// list that name there.
///
/// On the routes of [HTTP consumers](crate::UrlRouter::http) the default checks only requests that change
/// something, such as a POST. A `SameOrigin` that you wrap around them checks every request.
///
/// Clients that send no `Origin` are not browsers and are let in. After [`require_origin`](Self::require_origin)
/// they are denied.
///
/// If a proxy changes the host, wrap [`TrustedProxies`](super::TrustedProxies) around this middleware, or list the
/// hosts with [`AllowedHostsOriginValidator`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SameOrigin {
    require: bool,
}

/// The request's `Origin` header.
enum SentOrigin {
    Malformed(String),
    Missing,
    /// It names no site.
    Opaque(String),
    Site(Site, String),
    /// It is missing on an HTTP request that changes nothing: browsers send no `Origin` with such a request to the
    /// page's own site.
    Unneeded,
}

impl AllowedHostsOriginValidator {
    /// Lets in pages of the hosts that match these patterns.
    #[must_use]
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let mut validator = Self { patterns: Vec::new(), errors: Vec::new() };
        for pattern in patterns {
            match HostPattern::parse(pattern.as_ref()) {
                Ok(pattern) => validator.patterns.push(pattern),
                Err(error) => validator.errors.push(error),
            }
        }
        validator
    }

    fn allows(&self, sent: &SentOrigin) -> bool {
        matches!(sent, SentOrigin::Unneeded)
            || self.patterns.iter().any(|pattern| match (pattern, sent) {
                (HostPattern::Any, _) => true,
                (HostPattern::Opaque(own), SentOrigin::Opaque(text)) => own.eq_ignore_ascii_case(text),
                (_, SentOrigin::Site(site, _)) => pattern.matches(site),
                _ => false,
            })
    }

    /// Whether the page is of a site that is listed. Then it is not a page of another site, whatever the `Host` is.
    fn lists(&self, sent: &SentOrigin) -> bool {
        let SentOrigin::Site(site, _) = sent else { return false };
        let is_listed = |pattern: &HostPattern| !matches!(pattern, HostPattern::Any) && pattern.matches(site);
        self.patterns.iter().any(is_listed)
    }
}

#[async_trait(?Send)]
impl Middleware for AllowedHostsOriginValidator {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        let sent = SentOrigin::of(scope);
        if !self.allows(&sent) {
            return Err(deny(scope, &sent, "add the origin's host to the allowed hosts"));
        }
        if self.lists(&sent) {
            scope.set_host_checked();
        }
        scope.set_origin_checked();
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::msg(self.errors.join("\n"))) }
    }
}

impl SameOrigin {
    /// Lets in pages of the same host, and clients that send no `Origin`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also denies clients that send no `Origin`.
    pub fn require_origin(mut self) -> Self {
        self.require = true;
        self
    }

    fn allows(&self, scope: &Scope, sent: &SentOrigin) -> bool {
        match sent {
            SentOrigin::Malformed(_) | SentOrigin::Opaque(_) => false,
            SentOrigin::Missing => !self.require,
            SentOrigin::Unneeded => true,
            SentOrigin::Site(site, _) => is_own(scope, site),
        }
    }
}

#[async_trait(?Send)]
impl Middleware for SameOrigin {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        let sent = SentOrigin::of(scope);
        if !self.allows(scope, &sent) {
            let fix = "list the page's host with AllowedHostsOriginValidator; if a proxy changes the host or \
                       the scheme, list the proxy with TrustedProxies";
            return Err(deny(scope, &sent, fix));
        }
        scope.set_origin_checked();
        Ok(())
    }
}

fn is_own(scope: &Scope, site: &Site) -> bool {
    let scheme_fits = match scope.known_scheme() {
        Scheme::Http => site.scheme == "http",
        Scheme::Https => site.scheme == "https",
        Scheme::Unknown => matches!(site.scheme.as_str(), "http" | "https"),
    };
    let Some(own) = scope.host().and_then(Authority::parse) else { return false };
    let own = Site { scheme: site.scheme.clone(), authority: own };
    scheme_fits && own.authority.host == site.authority.host && own.port() == site.port()
}

/// Answers 403, and tells the operator in the log why.
fn deny(scope: &Scope, sent: &SentOrigin, fix: &str) -> Rejection {
    let (origin, cause) = match sent {
        SentOrigin::Malformed(text) => (text.as_str(), "the Origin header is not a scheme, host and port"),
        SentOrigin::Missing | SentOrigin::Unneeded => {
            ("", "the client sent no Origin header: it is not a browser")
        }
        SentOrigin::Opaque(text) => (text.as_str(), "the page has no site: it is a file, or in a sandbox"),
        SentOrigin::Site(_, text) => {
            (text.as_str(), "the page is of another site, or a proxy changes the Host header")
        }
    };
    tracing::warn!(origin = ?Shown(origin), host = ?Shown(scope.host().unwrap_or_default()), path = ?Shown(scope.path()), "connection denied: {cause}; {fix}");
    Rejection::forbidden()
}

impl SentOrigin {
    fn of(scope: &Scope) -> Self {
        let mut lines = scope.headers().filter(|(name, _)| *name == "origin").map(|(_, value)| value);
        let Some(value) = lines.next() else {
            return if scope.is_safe_exchange() { Self::Unneeded } else { Self::Missing };
        };
        let text = String::from_utf8_lossy(value).into_owned();
        match Site::parse(&text) {
            _ if lines.next().is_some() => Self::Malformed(text),
            Some(site) => Self::Site(site, text),
            None if is_opaque(&text) => Self::Opaque(text),
            None => Self::Malformed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{UrlRouter, scope::ScopeBuilder};

    fn is_let_in(middleware: &impl Middleware, builder: ScopeBuilder) -> bool {
        match middleware.handle(&mut builder.build()).now_or_never().unwrap() {
            Ok(()) => true,
            Err(rejection) => {
                assert_eq!(rejection.status(), 403);
                false
            }
        }
    }

    fn from(origin: &str) -> ScopeBuilder {
        Scope::builder("/").header("host", "server").header("origin", origin)
    }

    fn allows(patterns: &[&str], origin: &str) -> bool {
        is_let_in(&AllowedHostsOriginValidator::new(patterns), from(origin))
    }

    /// Channels' `test_origin_validator`, case by case.
    #[test]
    fn upstream_origin_validator() {
        assert!(allows(&["allowed-domain.com"], "http://allowed-domain.com"));
        assert!(!allows(&["allowed-domain.com"], "http://bad-domain.com"));
        assert!(!allows(&["*.allowed-domain.com"], "http://bad-domain.com"));
        assert!(!allows(&["*.allowed-domain.com"], "http://sub.allowed-domain.com"));
        assert!(allows(&[".allowed-domain.com"], "http://sub.allowed-domain.com"));
        assert!(allows(&[".allowed-domain.com"], "http://allowed-domain.com"));
        assert!(!allows(&[".allowed-domain.com"], "http://notallowed-domain.com"));
        assert!(allows(&["http://allowed-domain.com"], "http://allowed-domain.com"));
        assert!(!allows(&["http://allowed-domain.com"], "https://allowed-domain.com"));
        assert!(!allows(&["https://allowed-domain.com"], "http://bad-domain.com"));
        let missing = || Scope::builder("/").header("host", "server");
        assert!(is_let_in(&AllowedHostsOriginValidator::new(["*"]), missing()));
        assert!(!is_let_in(&AllowedHostsOriginValidator::new(["allowed-domain.com"]), missing()));
        assert!(!allows(&[], "http://allowed-domain.com"));
        assert!(!is_let_in(&AllowedHostsOriginValidator::new([""; 0]), missing()));
        for invalid in ["", "something-invalid", "null", "http://", "http://[bad"] {
            assert!(!allows(&["allowed-domain.com"], invalid), "{invalid:?}");
            assert!(allows(&["*"], invalid), "{invalid:?}");
        }
    }

    #[test]
    fn ports_have_defaults_and_case_does_not_matter() {
        for (pattern, origin, expected) in [
            ("http://a.example:80", "http://a.example", true),
            ("http://a.example", "http://a.example:80", true),
            ("https://a.example:443", "https://a.example", true),
            ("wss://a.example:443", "wss://a.example", true),
            ("ws://a.example", "ws://a.example:80", true),
            ("http://a.example:8080", "http://a.example", false),
            ("http://a.example:8080", "http://a.example:8081", false),
            ("https://.example:8443", "https://a.example:8443", true),
            ("https://.example:8443", "https://a.example", false),
            ("a.example", "https://a.example:1234", true),
            ("a.example:443", "https://a.example", true),
            ("a.example:443", "https://a.example:444", false),
            ("A.Example", "HTTPS://a.eXample", true),
            ("HTTPS://A.Example", "https://a.example", true),
            ("[::1]", "http://[0:0::1]:8000", true),
            ("http://[::1]:8000", "http://[::1]:8000", true),
            ("[::1]", "http://[::2]", false),
            ("chrome-extension://abc", "chrome-extension://abc", true),
            (".example", "http://example.evil", false),
            ("https://a.example", "wss://a.example", true),
            ("wss://a.example", "https://a.example", true),
            ("http://a.example", "wss://a.example", false),
            ("a.example", "https://a.example.", true),
            ("null", "null", true),
            ("file://", "file://", true),
            ("File://", "file://", true),
            ("content://", "file://", false),
            ("null", "http://null", false),
            ("null", "file://", false),
            ("null", "", false),
            ("file://", "http://", false),
        ] {
            assert_eq!(allows(&[pattern], origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_errors_at_the_start() {
        for (pattern, part) in [
            ("*.example.com", "write \".example.com\""),
            ("https://*.example.com", "write \".example.com\""),
            ("ex*", "write `*` alone"),
            ("https://a.example/", "leave the path out"),
            ("::1", "IPv6 in brackets"),
            ("", "write host"),
            ("caf\u{e9}.example", "punycode"),
            ("http://", "write host"),
            ("wss://", "write host"),
            ("file:///", "leave the path out"),
        ] {
            let router = UrlRouter::new().wrap(AllowedHostsOriginValidator::new([pattern]));
            let text = router.build().unwrap_err().to_string();
            assert!(text.contains(&format!("{pattern:?} is invalid")) && text.contains(part), "{text}");
        }
        assert!(AllowedHostsOriginValidator::new(["a.example", "*"]).check().is_ok());
    }

    #[test]
    fn only_pages_of_the_same_host_are_let_in() {
        for (host, origin, expected) in [
            ("chat.example", "https://chat.example", true),
            ("chat.example", "http://chat.example", true),
            ("Chat.Example:8000", "http://chat.example:8000", true),
            ("chat.example:443", "https://chat.example", true),
            ("chat.example", "wss://chat.example", true),
            ("chat.example:8000", "ws://chat.example:8000", true),
            ("chat.example", "wss://chat.example:8443", false),
            ("chat.example:443", "ws://chat.example", false),
            ("chat.example.", "https://chat.example", true),
            ("[::1]:8000", "http://[::1]:8000", true),
            ("chat.example", "https://evil.example", false),
            ("chat.example", "https://chat.example.evil.example", false),
            ("chat.example", "https://sub.chat.example", false),
            ("chat.example", "http://chat.example:8000", false),
            ("chat.example:8000", "http://chat.example", false),
            ("chat.example:443", "http://chat.example", false),
            ("chat.example", "chrome-extension://chat.example", false),
            ("chat.example", "null", false),
            ("chat.example", "file://", false),
            ("chat.example", "", false),
            ("bad host", "http://bad host", false),
        ] {
            let builder = Scope::builder("/").header("host", host).header("origin", origin);
            assert_eq!(is_let_in(&SameOrigin::new(), builder), expected, "{host} {origin}");
        }
        assert!(!is_let_in(&SameOrigin::new(), Scope::builder("/").header("origin", "http://a")), "no host");
        let twice = from("http://server").header("origin", "http://evil.example");
        assert!(!is_let_in(&SameOrigin::new(), twice));
        let twice = from("null").header("origin", "http://evil.example");
        assert!(!is_let_in(&AllowedHostsOriginValidator::new(["null"]), twice));
        let bytes = Scope::builder("/").header("host", "a").header("origin", &b"http://a\xff"[..]);
        assert!(!is_let_in(&SameOrigin::new(), bytes), "a value that is not text is not a missing one");
    }

    #[test]
    fn same_origin_is_the_default_after_all_middleware() {
        let admit = |router: UrlRouter, builder: ScopeBuilder| {
            let route = |_: &Scope| Ok(crate::routing::testing::Nobody);
            let routes = router.route("/", route).build().unwrap();
            let mut scope = builder.peer("10.0.0.1:1".parse().unwrap()).build();
            let endpoint = routes.route(&mut scope).unwrap();
            super::super::admit(&endpoint.middleware, &mut scope).now_or_never().unwrap().is_ok()
        };
        let other = || from("https://other.example");
        assert!(admit(UrlRouter::new(), from("http://server")));
        assert!(!admit(UrlRouter::new(), other()));
        assert!(admit(UrlRouter::new().wrap(AllowedHostsOriginValidator::new(["other.example"])), other()));
        assert!(admit(UrlRouter::new().wrap(AllowedHostsOriginValidator::new(["*"])), other()));
        let proxy = UrlRouter::new().wrap(super::super::TrustedProxies::new(["10.0.0.1"]));
        assert!(admit(proxy, other().header("x-forwarded-host", "other.example")));
        assert!(!admit(UrlRouter::new(), other().header("x-forwarded-host", "other.example")));
        let missing = Scope::builder("/").header("host", "server");
        assert!(!admit(UrlRouter::new().wrap(SameOrigin::new().require_origin()), missing));
    }

    #[test]
    fn the_scheme_is_compared_if_it_is_known() {
        let secure = |origin| from(origin).secure();
        assert!(is_let_in(&SameOrigin::new(), secure("https://server")));
        assert!(is_let_in(&SameOrigin::new(), secure("wss://server")));
        assert!(!is_let_in(&SameOrigin::new(), secure("http://server")));
        assert!(!is_let_in(&SameOrigin::new(), secure("ws://server")));
    }

    #[test]
    fn clients_without_an_origin_are_let_in_unless_it_is_required() {
        let missing = || Scope::builder("/").header("host", "server");
        assert!(is_let_in(&SameOrigin::new(), missing()));
        assert!(!is_let_in(&SameOrigin::new().require_origin(), missing()));
        assert!(is_let_in(&SameOrigin::new().require_origin(), from("http://server")));
    }
}
