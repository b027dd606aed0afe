//! Checks whether a request is for a host of this server.

use actix_web::{
    guard::{Guard, GuardContext},
    http::header,
};
use async_trait::async_trait;

use super::{
    Middleware, Rejection,
    denied::tells,
    pattern::{HostList, HostPattern},
    site::Authority,
};
use crate::{Result, Scope, shown::Shown};

/// Lets in requests for the listed hosts, and no requests for other names.
///
/// It keeps out **DNS rebinding**: the owner of a site lets its name stand for the address of your server, for example
/// for 127.0.0.1. To the browser a page of that site then *is* a page of your server. It may connect, and may read each
/// answer. Only the `Host` tells the name that the page used.
///
/// `localhost`, the names below it, and addresses are always allowed, because nobody can rebind them. So is a request
/// without a `Host`, because browsers always send one. The port does not matter.
///
/// Without this middleware the listener decides: if it listens on a loopback address, such as 127.0.0.1, no other names
/// are allowed. On another listener, and on a Unix socket, all names are. So wrap it around your routes
///
/// - if a **proxy** in front of a loopback listener passes on the name that the client asked for. nginx does so after
///   `proxy_set_header Host $host`; without it, nginx sends what `proxy_pass` says, and an address is allowed. A tunnel and
///   a name in `/etc/hosts` are similar cases;
/// - if the server listens on other addresses, and only your own names should reach it.
///
/// | Name | Allows |
/// |---|---|
/// | `chat.example.org` | this host |
/// | `.example.org` | this host and all hosts below it |
/// | `*` | all hosts: nothing is checked |
///
/// An empty list allows only `localhost` and addresses, on every listener. An invalid name is an error when the router is
/// built. A denied client is answered 403, and a warning in the log says what to change: once a minute for each host.
///
/// Behind [`TrustedProxies`](super::TrustedProxies) it checks two hosts: the request's own `Host`, and the one that the
/// proxy says.
///
/// As a middleware, and by default, it checks what consumers are asked. For actix-web's own routes it is a [`Guard`]:
/// put them into `web::scope("").guard(AllowedHosts::new(…))`. To other hosts they do not exist.
///
/// ```
/// use greenroom::{UrlRouter, middleware::AllowedHosts};
///
/// let router = UrlRouter::new().wrap(AllowedHosts::new(["chat.example.org"]));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct AllowedHosts {
    list: HostList,
}

impl AllowedHosts {
    /// Lets in requests for these hosts, for `localhost`, and for addresses.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { list: HostList::new(names, HostPattern::parse_name) }
    }

    fn allows(&self, scope: &Scope) -> bool {
        sent(scope).all(|host| self.allows_host(host))
    }

    /// Whether one of the hosts that a request names is allowed. An empty one counts as none.
    fn allows_host(&self, host: &[u8]) -> bool {
        if host.is_empty() {
            return true;
        }
        if self.list.any(|pattern| matches!(pattern, HostPattern::Any)) {
            return true;
        }
        let host = std::str::from_utf8(host).ok().and_then(Authority::parse);
        host.is_some_and(|host| host.is_beyond_dns() || self.list.any(|pattern| pattern.matches_name(&host)))
    }
}

#[async_trait(?Send)]
impl Middleware for AllowedHosts {
    async fn handle(&self, scope: &mut Scope) -> Result<(), Rejection> {
        if !self.allows(scope) {
            return Err(deny(scope, "the Host is not in the list of AllowedHosts"));
        }
        scope.set_host_checked();
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.list.check()
    }
}

impl Guard for AllowedHosts {
    fn check(&self, ctx: &GuardContext<'_>) -> bool {
        let head = ctx.head();
        let target = head.uri.host().unwrap_or_default().as_bytes();
        let mut headers = head.headers().get_all(header::HOST).map(|host| host.as_bytes());
        let allowed = self.allows_host(target) && headers.all(|host| self.allows_host(host));
        if !allowed {
            let host = head.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
            let host = host.unwrap_or_default();
            let Some(more) = tells(&host) else { return false };
            tracing::warn!(host = ?Shown(host), path = ?Shown(head.uri.path()), more, "a route is not there for a host that is not in the list of AllowedHosts");
        }
        allowed
    }
}

/// Whether the listener of this request allows its `Host`, if no middleware decides.
///
/// Ask this before a middleware has put the host that a proxy says into the scope: a page may add the header of a proxy to
/// its own requests.
pub(super) fn listener_allows(scope: &Scope) -> bool {
    !scope.is_of_loopback() || AllowedHosts::new([""; 0]).allows(scope)
}

/// Refuses a request whose `Host` its listener does not allow.
pub(super) fn denied_by_listener(scope: &Scope) -> Rejection {
    deny(scope, "on a loopback address only localhost and addresses are a valid Host")
}

/// All hosts that the request names: those of its head, and the one in the scope.
fn sent(scope: &Scope) -> impl Iterator<Item = &[u8]> {
    let headers = scope.headers().filter(|(name, _)| *name == "host").map(|(_, value)| value);
    let said = scope.host().filter(|host| Some(*host) != scope.header("host"));
    headers.chain(said.map(str::as_bytes))
}

/// Answers 403, and tells the operator in the log why.
fn deny(scope: &Scope, cause: &str) -> Rejection {
    let hosts = sent(scope).map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ");
    let Some(more) = tells(&hosts) else { return Rejection::forbidden() };
    tracing::warn!(
        hosts = ?Shown(hosts),
        origin = ?Shown(scope.origin().unwrap_or_default()),
        path = ?Shown(scope.path()),
        more,
        "connection denied: {cause}; if this host is yours, for example because a proxy passes it on, wrap \
         AllowedHosts::new([\"its name\"]) around the routes; otherwise a page of another site has tried DNS rebinding"
    );
    Rejection::forbidden()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{UrlRouter, middleware::TrustedProxies, scope::ScopeBuilder};

    fn allows(names: &[&str], host: impl AsRef<[u8]>) -> bool {
        let mut scope = Scope::builder("/").header("host", host).build();
        AllowedHosts::new(names).handle(&mut scope).now_or_never().unwrap().is_ok()
    }

    /// Whether the default policies let a request in, on a route with this router's middleware.
    fn admits(router: UrlRouter, builder: ScopeBuilder) -> bool {
        let route = |_: &Scope| Ok(crate::routing::testing::Nobody);
        let routes = router.route("/", route).build().unwrap();
        let mut scope = builder.peer("127.0.0.1:1".parse().unwrap()).build();
        let endpoint = routes.route(&mut scope).unwrap();
        super::super::admit(&endpoint.middleware, &mut scope).now_or_never().unwrap().is_ok()
    }

    fn at_loopback(host: &str) -> ScopeBuilder {
        Scope::builder("/").header("host", host).of_loopback()
    }

    #[test]
    fn listed_names_localhost_and_addresses_are_allowed() {
        let names = ["chat.example.org", ".example.com"];
        for (host, expected) in [
            ("chat.example.org", true),
            ("Chat.Example.ORG.:8443", true),
            ("x.chat.example.org", false),
            ("example.com", true),
            ("a.b.example.com:80", true),
            ("notexample.com", false),
            ("localhost:8000", true),
            ("localhost.", true),
            ("app.localhost", true),
            ("127.0.0.1:8000", true),
            ("[::1]:8000", true),
            ("10.1.2.3", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost@evil.example", false),
            ("evil.example@localhost", false),
            ("localhost, evil.example", false),
            ("localhost:x", false),
            ("local host", false),
            ("[::1", false),
            ("", true),
        ] {
            assert_eq!(allows(&names, host), expected, "{host:?}");
        }
        assert!(!allows(&names, b"localhost\xff"), "a Host that is not text is not a missing one");
        assert!(allows(&["*"], "evil.example") && allows(&["*"], b"\xff"));
        assert!(!allows(&[], "chat.example.org") && allows(&[], "localhost"));
    }

    #[test]
    fn every_host_of_a_request_must_be_allowed() {
        let allowed = AllowedHosts::new(["chat.example.org"]);
        for (first, second) in [("localhost", "evil.example"), ("evil.example", "chat.example.org")] {
            let scope = Scope::builder("/").header("host", first).header("host", second).build();
            assert!(!allowed.allows(&scope), "{first} {second}");
        }
        let mut scope = Scope::builder("/").header("host", "127.0.0.1:8000").build();
        scope.set_host("evil.example");
        assert!(!allowed.allows(&scope), "what a trusted proxy says, or the target of the request");
        scope.set_host("chat.example.org");
        assert!(allowed.allows(&scope));
        assert!(allowed.allows(&Scope::builder("/").build()), "a browser always sends a Host");
    }

    #[test]
    fn a_loopback_listener_allows_no_names_by_default() {
        let own = |host: &str| at_loopback(host).header("origin", format!("http://{host}"));
        assert!(admits(UrlRouter::new(), own("localhost:8000")));
        assert!(admits(UrlRouter::new(), own("127.0.0.1:8000")));
        assert!(!admits(UrlRouter::new(), own("evil.example:8000")));
        assert!(!admits(UrlRouter::new(), at_loopback("evil.example:8000")));
        assert!(admits(UrlRouter::new(), Scope::builder("/").of_loopback()), "not a browser");
        let elsewhere = Scope::builder("/").header("host", "a.example").header("origin", "http://a.example");
        assert!(admits(UrlRouter::new(), elsewhere.clone()));
        let listed = |name: &str| UrlRouter::new().wrap(AllowedHosts::new([name]));
        assert!(!admits(listed("b.example"), elsewhere));
        assert!(admits(listed("a.example"), own("a.example")));
        assert!(!admits(listed("a.example"), own("evil.example")));
    }

    #[test]
    fn a_page_cannot_pass_as_a_trusted_proxy_on_the_same_machine() {
        let proxied_by = |router: UrlRouter| router.wrap(TrustedProxies::new(["127.0.0.1"]));
        let proxied = || proxied_by(UrlRouter::new());
        let page = at_loopback("evil.example:8000")
            .header("origin", "http://evil.example:8000")
            .header("x-forwarded-for", "192.0.2.1");
        assert!(!admits(proxied(), page.clone().header("x-forwarded-host", "evil.example:8000")));
        assert!(!admits(proxied(), page.clone().header("x-forwarded-host", "localhost")));
        let strict = |name: &str| proxied_by(UrlRouter::new().wrap(AllowedHosts::new([name])));
        assert!(!admits(strict("a.example"), page.header("x-forwarded-host", "a.example")));
        // A proxy that sends the address as its `Host`, and the client's host beside it.
        let through = at_loopback("127.0.0.1:8000")
            .header("origin", "https://a.example")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "a.example");
        assert!(admits(proxied(), through.clone()));
        assert!(admits(strict("a.example"), through.clone()));
        assert!(!admits(strict("b.example"), through));
    }

    #[test]
    fn a_page_of_a_listed_origin_needs_no_allowed_host() {
        use crate::middleware::AllowedHostsOriginValidator;
        let listed = |name: &str| UrlRouter::new().wrap(AllowedHostsOriginValidator::new([name]));
        let page = at_loopback("a.example").header("origin", "https://a.example");
        assert!(admits(listed("a.example"), page.clone()));
        assert!(!admits(listed("*"), page.clone()), "only a host that is listed by name");
        let both = listed("a.example").wrap(AllowedHosts::new(["b.example"]));
        assert!(!admits(both, page));
    }

    #[test]
    fn an_invalid_name_is_an_error_at_the_start() {
        for name in
            ["", "*.example.org", "https://example.org", "example.org:8000", "null", "a b", "[::1]:80"]
        {
            let text = UrlRouter::new().wrap(AllowedHosts::new([name])).build().unwrap_err().to_string();
            assert!(text.contains(&format!("the allowed host {name:?} is invalid")), "{text}");
        }
        assert!(Middleware::check(&AllowedHosts::new(["*", ".a.example", "[::1]"])).is_ok());
    }
}
