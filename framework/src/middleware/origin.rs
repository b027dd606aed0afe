//! Checks whether the page that connects is of an allowed site.
//!
//! Browsers let any page open a WebSocket to any host, and send the host's cookies with it. Only the `Origin`
//! header says which site a page is from.

use async_trait::async_trait;

use super::{
    Middleware, Rejection,
    denied::tells,
    pattern::{HostList, HostPattern, is_opaque},
    site::{Authority, Site},
};
use crate::{Result, Scope, scope::Scheme, shown::Shown};

/// Lets pages of the listed hosts connect, and no others.
///
/// It has the same name in Channels. To let in pages of the server's own host *and* of other hosts, see
/// [`SameOrigin::and`].
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
/// Without `*`, a malformed `Origin` is denied, and an empty list denies everyone, as in Channels. A missing `Origin`
/// is denied too, unless [`allow_missing_origin`](Self::allow_missing_origin) is called. Case does not matter. An IPv6
/// address stands in brackets. On the routes of [HTTP consumers](crate::UrlRouter::http) a
/// GET or HEAD without an `Origin` is let in: browsers send no `Origin` with such a request to the page's own site.
///
/// An invalid pattern, such as `*.example.com`, matches nothing and is an error when the router is built. A denied
/// client is answered 403, and a warning in the log says what to write: once a minute for each origin.
///
/// The list decides for WebSockets, HTTP consumers and the [fallback transports](crate::Fallback) alike. It also
/// answers browsers that ask before a page of another origin sends a request of a fallback transport (CORS).
///
/// If it has let in a page of a listed host, the `Host` of the request is not checked any more. Without an `Origin`, and
/// with `*`, it is checked as [`AllowedHosts`](super::AllowedHosts) says.
///
/// ```
/// use greenroom::{UrlRouter, middleware::AllowedHostsOriginValidator};
///
/// let router = UrlRouter::new().wrap(AllowedHostsOriginValidator::new(["example.com", "https://app.example.org"]));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct AllowedHostsOriginValidator {
    list: HostList,
    missing: bool,
}

/// Lets pages of the request's own host connect.
///
/// This is the default: if neither an [`AllowedHostsOriginValidator`] nor a `SameOrigin` has run for a connection,
/// a `SameOrigin` runs after all middleware. `AllowedHostsOriginValidator::new(["*"])` switches it off.
///
/// The `Origin` must have the host and the port of the request's `Host`. The scheme is compared too if the scheme
/// of the request is known: because this server does TLS itself, or because a [trusted
/// proxy](super::TrustedProxies) says so. A `Host` without a port stands for the default port of the origin's
/// scheme. [`and`](Self::and) lets in pages of other hosts too, such as those of a development server.
///
/// The `Host` is what the page's address says, so it is no proof alone: with **DNS rebinding** the owner of a site lets its
/// name stand for the address of your server, and both headers then have that name. So the `Host` is checked as well.
/// Which hosts are allowed is said at [`AllowedHosts`](super::AllowedHosts). On a server that others reach by a name,
/// list that name there.
///
/// On the routes of [HTTP consumers](crate::UrlRouter::http) the default checks only requests that change
/// something, such as a POST. A `SameOrigin` that you wrap around them checks every request.
///
/// Clients that send no `Origin` are not browsers but, for example, apps and scripts. They are let in. After
/// [`require_origin`](Self::require_origin) they are denied.
///
/// A denied client is answered 403, and a warning in the log says what to write: once a minute for each origin.
///
/// If a proxy changes the host, wrap [`TrustedProxies`](super::TrustedProxies) around this middleware, or list the
/// hosts with [`AllowedHostsOriginValidator`].
///
/// ```
/// use greenroom::{UrlRouter, middleware::SameOrigin};
///
/// // Only pages of this server, and no clients other than browsers.
/// let router = UrlRouter::new().wrap(SameOrigin::default().require_origin());
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SameOrigin {
    others: HostList,
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
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        Self { list: HostList::new(patterns, HostPattern::parse), missing: false }
    }

    /// Also lets in clients that send no `Origin`, such as apps and scripts.
    ///
    /// Browsers always send one with a WebSocket, and with a request to another site that changes something. By default
    /// such clients are denied, as in Channels.
    pub fn allow_missing_origin(mut self) -> Self {
        self.missing = true;
        self
    }

    fn allows(&self, sent: &SentOrigin) -> bool {
        self.list.any(|pattern| matches!(pattern, HostPattern::Any))
            || match sent {
                SentOrigin::Missing => self.missing,
                SentOrigin::Unneeded => true,
                _ => lists(&self.list, sent),
            }
    }
}

#[async_trait(?Send)]
impl Middleware for AllowedHostsOriginValidator {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        let sent = SentOrigin::of(scope);
        if !self.allows(&sent) {
            return Err(deny(scope, &sent));
        }
        if names_site(&self.list, &sent) {
            scope.set_host_checked();
        }
        scope.set_origin_checked();
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.list.check()
    }

    fn allows_origin(&self, origin: &str) -> Option<bool> {
        Some(self.allows(&SentOrigin::parse(origin)))
    }
}

impl SameOrigin {
    /// Lets in pages of the same host, and clients that send no `Origin`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also lets in pages of these hosts, for example of a development server.
    ///
    /// The patterns are those of [`AllowedHostsOriginValidator`], except `*`. A second call adds to the first.
    ///
    /// ```
    /// use greenroom::{UrlRouter, middleware::SameOrigin};
    ///
    /// let router = UrlRouter::new();
    /// // While you develop, Vite serves the pages.
    /// #[cfg(debug_assertions)]
    /// let router = router.wrap(SameOrigin::new().and(["http://localhost:5173"]));
    /// ```
    ///
    /// An invalid pattern is an error when the router is built.
    pub fn and<P: AsRef<str>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.others.extend(HostList::new(patterns, HostPattern::parse_other));
        self
    }

    /// Also denies clients that send no `Origin`.
    pub fn require_origin(mut self) -> Self {
        self.require = true;
        self
    }

    fn allows(&self, scope: &Scope, sent: &SentOrigin) -> bool {
        match sent {
            SentOrigin::Missing => !self.require,
            SentOrigin::Unneeded => true,
            SentOrigin::Site(site, _) if is_own(scope, site) => true,
            _ => lists(&self.others, sent),
        }
    }
}

#[async_trait(?Send)]
impl Middleware for SameOrigin {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        let sent = SentOrigin::of(scope);
        if !self.allows(scope, &sent) {
            return Err(deny(scope, &sent));
        }
        if names_site(&self.others, &sent) {
            scope.set_host_checked();
        }
        scope.set_origin_checked();
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.others.check()
    }

    fn allows_origin(&self, origin: &str) -> Option<bool> {
        Some(lists(&self.others, &SentOrigin::parse(origin)))
    }
}

/// Whether the origin matches a pattern of the list.
fn lists(list: &HostList, sent: &SentOrigin) -> bool {
    list.any(|pattern| match (pattern, sent) {
        (HostPattern::Opaque(own), SentOrigin::Opaque(text)) => own.eq_ignore_ascii_case(text),
        (_, SentOrigin::Site(site, _)) => pattern.matches(site),
        _ => false,
    })
}

/// Whether the list names the page's site. Then it is not a page of another site, whatever the `Host` is.
fn names_site(list: &HostList, sent: &SentOrigin) -> bool {
    let SentOrigin::Site(site, _) = sent else { return false };
    list.any(|pattern| !matches!(pattern, HostPattern::Any) && pattern.matches(site))
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
fn deny(scope: &Scope, sent: &SentOrigin) -> Rejection {
    note(sent, scope.host().unwrap_or_default(), scope.path());
    Rejection::forbidden()
}

/// Tells the operator that a page of another origin may not send requests, and what to write.
pub(crate) fn note_denied(origin: &str, host: &str, path: &str) {
    note(&SentOrigin::parse(origin), host, path);
}

fn note(sent: &SentOrigin, host: &str, path: &str) {
    let (SentOrigin::Malformed(origin) | SentOrigin::Opaque(origin) | SentOrigin::Site(_, origin)) = sent
    else {
        if let Some(more) = tells("") {
            tracing::warn!(
                host = ?Shown(host),
                path = ?Shown(path),
                more,
                "connection denied: the client sent no Origin header, so it is not a browser; to let it in, leave out \
                 `.require_origin()` of SameOrigin, or add `.allow_missing_origin()` to AllowedHostsOriginValidator"
            );
        }
        return;
    };
    let Some(more) = tells(origin) else { return };
    let why = match sent {
        SentOrigin::Site(site, _) => format!(
            "the page is of another site; if it is yours, write `.wrap(SameOrigin::new().and([\"{site}\"]))` at the \
             router, or add \"{site}\" to the list of the validator that is there; if a proxy changes the Host or the \
             scheme, list the proxy with TrustedProxies"
        ),
        SentOrigin::Opaque(_) => {
            "the page has no site: it is a file, or in a sandbox; if it is of an app of yours, add \
                                  its origin to the list of the validator, as `SameOrigin::new().and([…])`"
                .to_owned()
        }
        _ => "the Origin header is not a scheme, host and port".to_owned(),
    };
    tracing::warn!(
        origin = ?Shown(origin),
        host = ?Shown(host),
        path = ?Shown(path),
        more,
        "connection denied: {why}"
    );
}

impl SentOrigin {
    fn of(scope: &Scope) -> Self {
        let mut lines = scope.headers().filter(|(name, _)| *name == "origin").map(|(_, value)| value);
        let Some(value) = lines.next() else {
            return if scope.is_safe_exchange() { Self::Unneeded } else { Self::Missing };
        };
        let text = String::from_utf8_lossy(value);
        if lines.next().is_some() { Self::Malformed(text.into_owned()) } else { Self::parse(&text) }
    }

    /// Reads the only `Origin` of a request.
    fn parse(text: &str) -> Self {
        match Site::parse(text) {
            Some(site) => Self::Site(site, text.to_owned()),
            None if is_opaque(text) => Self::Opaque(text.to_owned()),
            None => Self::Malformed(text.to_owned()),
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
        let text = SameOrigin::new().and(["a.example", "*.b", "*"]).check().unwrap_err().to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("write AllowedHostsOriginValidator::new([\"*\"])"), "{text}");
    }

    #[test]
    fn the_own_host_and_a_list_are_let_in_together() {
        let both = || SameOrigin::new().and(["http://localhost:5173", "null"]).and([".app.example"]);
        for (origin, expected) in [
            ("http://server", true),
            ("https://server", true),
            ("http://localhost:5173", true),
            ("ws://localhost:5173", true),
            ("https://a.app.example", true),
            ("null", true),
            ("http://localhost", false),
            ("http://localhost:5174", false),
            ("https://localhost:5173", false),
            ("http://127.0.0.1:5173", false),
            ("http://localhost:5173.evil.example", false),
            ("http://localhost:5173/", false),
            ("http://server:5173", false),
            ("file://", false),
            ("", false),
        ] {
            assert_eq!(is_let_in(&both(), from(origin)), expected, "{origin}");
        }
        let twice = from("http://localhost:5173").header("origin", "http://evil.example");
        assert!(!is_let_in(&both(), twice));
        let missing = || Scope::builder("/").header("host", "server");
        assert!(is_let_in(&both(), missing()) && !is_let_in(&both().require_origin(), missing()));
    }

    #[test]
    fn all_validators_of_a_route_decide_whether_a_page_may_ask_first() {
        let chain = |router: UrlRouter, origin: &str| {
            let routes = router.route("/", |_: &Scope| Ok(crate::routing::testing::Nobody)).build().unwrap();
            let endpoint = routes.route(&mut Scope::builder("/").build()).unwrap();
            super::super::allows_origin(&endpoint.middleware, origin)
        };
        const DEV: &str = "http://localhost:5173";
        let validator = |patterns: &[&str]| UrlRouter::new().wrap(AllowedHostsOriginValidator::new(patterns));
        for (router, expected) in [
            (UrlRouter::new(), false),
            (UrlRouter::new().wrap(SameOrigin::new()), false),
            (UrlRouter::new().wrap(SameOrigin::new().and([DEV])), true),
            (UrlRouter::new().wrap(super::super::Stack::new().with(SameOrigin::new().and([DEV]))), true),
            (validator(&["localhost"]), true),
            (validator(&["*"]), true),
            (validator(&["a.example"]), false),
            (validator(&[DEV]).wrap(SameOrigin::new()), false),
            (validator(&["*"]).wrap(SameOrigin::new().and([DEV])), true),
        ] {
            assert_eq!(chain(router, DEV), expected);
        }
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
        let listed = || AllowedHostsOriginValidator::new(["server"]);
        assert!(!is_let_in(&listed(), missing()));
        assert!(is_let_in(&listed().allow_missing_origin(), missing()));
        assert!(!is_let_in(&listed().allow_missing_origin(), from("http://evil.example")));
        assert!(!is_let_in(&listed().allow_missing_origin(), from("")), "an empty one is not a missing one");
    }
}
