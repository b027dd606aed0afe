use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    Routes,
    endpoint::{self, Endpoint, Maker},
    error::{RouteError, RouteErrors},
    parse::{check_joined, parse},
    pattern::{Pattern, Segment},
    routes::Route,
    shape::{Overlap, overlap},
};
use crate::{
    Consumer, HttpConsumer, Limits, Result, Scope,
    middleware::{Chain, Middleware},
    scope::MatchedRoute,
};

/// Maps paths to consumers; the first match wins. Channels' `URLRouter`.
///
/// The patterns and the rules are in the [module's docs](crate::routing).
///
/// ```
/// use greenroom::{Consumer, GroupName, NoEvents, Scope, UrlRouter};
///
/// #[derive(NoEvents)]
/// struct Chat {
///     room: GroupName,
/// }
/// impl Consumer for Chat {}
///
/// let rooms = UrlRouter::new()
///     .route("/{room:[A-Za-z0-9_-]+}/", |scope: &Scope| Ok(Chat { room: scope.param("room")? }))
///     .name("room");
/// let routes = UrlRouter::new().nest("/ws/rooms", rooms).name("rooms").build()?;
/// assert_eq!(routes.reverse("rooms:room", &[("room", "lobby")])?, "/ws/rooms/lobby/");
/// # Ok::<(), greenroom::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct UrlRouter {
    entries: Vec<RouterEntry>,
    /// The outermost middleware is the last.
    middleware: Vec<Arc<dyn Middleware>>,
    /// The errors of calls that add no entry.
    errors: Vec<RouteError>,
}

struct RouterEntry {
    pattern: String,
    name: Option<String>,
    target: EntryTarget,
}

enum EntryTarget {
    Nest(UrlRouter),
    Route { limits: Option<Arc<Limits>>, starter: endpoint::Target },
}

impl UrlRouter {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route: `make` makes the consumers for the paths that match.
    ///
    /// `make` is called once for each connection, with the scope as all middleware left it.
    ///
    /// If `make` fails, the error is logged and the client is answered 500. If the error is a
    /// [`DenyConnection`](crate::error::DenyConnection), the client is answered 403. If the client's path does not fit
    /// what `make` asks the scope for, the client is answered 404 ([what that is](crate::docs::guide#paths-that-do-not-fit)).
    pub fn route<C, F>(self, pattern: impl Into<String>, make: F) -> Self
    where
        C: Consumer,
        F: Fn(&Scope) -> Result<C> + Send + Sync + 'static,
    {
        let starter = endpoint::Target::WebSocket(Arc::new(Maker::new(make)));
        self.add_route(pattern.into(), None, starter)
    }

    /// As [`route`](Self::route), with limits for this route instead of those of all routes.
    pub fn route_with<C, F>(self, pattern: impl Into<String>, limits: Limits, make: F) -> Self
    where
        C: Consumer,
        F: Fn(&Scope) -> Result<C> + Send + Sync + 'static,
    {
        let starter = endpoint::Target::WebSocket(Arc::new(Maker::new(make)));
        self.add_route(pattern.into(), Some(limits), starter)
    }

    /// Adds a route for HTTP requests of every method.
    ///
    /// `make` makes the consumers for the paths that match. It is called once for each request, after all
    /// middleware and after the body was read. If `make` fails, the error counts as one of
    /// [`HttpConsumer::handle`]. A WebSocket route may have the same path.
    ///
    /// A request that fits none of these routes goes to the routes of the App, as any other HTTP request. If a
    /// request fits a route except for the kind of a parameter, such as `/{id:int}/`, it is answered 404.
    pub fn http<C, F>(self, pattern: impl Into<String>, make: F) -> Self
    where
        C: HttpConsumer,
        F: Fn(&Scope) -> Result<C> + Send + Sync + 'static,
    {
        let starter = endpoint::Target::Http(Arc::new(Maker::new(make)));
        self.add_route(pattern.into(), None, starter)
    }

    /// As [`http`](Self::http), with limits for this route instead of those of all routes.
    pub fn http_with<C, F>(self, pattern: impl Into<String>, limits: Limits, make: F) -> Self
    where
        C: HttpConsumer,
        F: Fn(&Scope) -> Result<C> + Send + Sync + 'static,
    {
        let starter = endpoint::Target::Http(Arc::new(Maker::new(make)));
        self.add_route(pattern.into(), Some(limits.of_exchanges()), starter)
    }

    /// Adds the routes of another router below a prefix, which may have parameters.
    ///
    /// The routes of `inner` begin with `/` too. One `/` at the end of the prefix is left out. If none of the
    /// routes matches, the next route of this router is tried.
    pub fn nest(mut self, prefix: impl Into<String>, inner: UrlRouter) -> Self {
        self.entries.push(RouterEntry {
            pattern: prefix.into(),
            name: None,
            target: EntryTarget::Nest(inner),
        });
        self
    }

    /// Names the route or router that was added last, for [`Routes::reverse`].
    ///
    /// A nested router's name is put before the names of its routes, as with Django's namespaces: `outer:inner`. If
    /// a nested router has no name, its routes keep their names.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        match self.entries.last_mut() {
            Some(entry) => entry.name = Some(name.into()),
            None => self.errors.push(RouteError::NothingToName { name: name.into() }),
        }
        self
    }

    /// Puts a middleware before all routes of this router.
    ///
    /// This includes routes that are added later, and routes of nested routers.
    ///
    /// As in actix-web, each call wraps the earlier ones: the middleware that is added last is the outermost and
    /// runs first. The middleware of an outer router runs before the middleware of a nested router.
    /// [`Stack`](crate::middleware::Stack) runs several in the order in which they are written.
    pub fn wrap(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Checks all routes and middleware, and makes the [`Routes`].
    ///
    /// [`Mount::new`](crate::Mount::new) calls it.
    ///
    /// # Errors
    /// All errors at once. The [module's docs](crate::routing) list them.
    pub fn build(self) -> Result<Routes, RouteErrors> {
        let mut flat = FlatRoutes::default();
        let outermost = Inherited {
            pattern: String::new(),
            segments: Some(Vec::new()),
            namespace: String::new(),
            middleware: Vec::new(),
        };
        flat.add(self, &outermost);
        flat.check();
        if flat.errors.is_empty() { Ok(Routes::new(flat.routes)) } else { Err(RouteErrors(flat.errors)) }
    }

    fn add_route(mut self, pattern: String, limits: Option<Limits>, starter: endpoint::Target) -> Self {
        let target = EntryTarget::Route { limits: limits.map(Arc::new), starter };
        self.entries.push(RouterEntry { pattern, name: None, target });
        self
    }
}

/// Shows the patterns and the consumers of their routes.
impl fmt::Debug for UrlRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in &self.entries {
            match &entry.target {
                EntryTarget::Nest(inner) => map.entry(&entry.pattern, inner),
                EntryTarget::Route { starter, .. } => map.entry(&entry.pattern, &starter.describe()),
            };
        }
        map.finish()
    }
}

/// What a nested router takes over from the routers around it.
#[derive(Clone)]
struct Inherited {
    pattern: String,
    /// `None` if a prefix is not valid.
    segments: Option<Vec<Segment>>,
    /// The names of the outer routers, each with a `:` after it.
    namespace: String,
    middleware: Vec<Arc<dyn Middleware>>,
}

/// All routes in the order in which they are tried, those of nested routers included.
#[derive(Default)]
struct FlatRoutes {
    routes: Vec<Route>,
    errors: Vec<RouteError>,
}

impl FlatRoutes {
    fn add(&mut self, router: UrlRouter, outer: &Inherited) {
        self.errors.extend(router.errors);
        let mut outer = outer.clone();
        for middleware in router.middleware.into_iter().rev() {
            if let Err(error) = middleware.check() {
                self.errors.push(RouteError::BadMiddleware { reason: error.to_string() });
            }
            outer.middleware.push(middleware);
        }
        let chain: Chain = outer.middleware.as_slice().into();
        for RouterEntry { pattern, name, target } in router.entries {
            let whole = join(&outer.pattern, &pattern);
            let own = parse(&pattern, matches!(target, EntryTarget::Nest(_)));
            let segments = self.join_segments(outer.segments.as_deref(), own, &whole);
            match target {
                EntryTarget::Nest(inner) => {
                    let mut inside = Inherited { pattern: whole, segments, ..outer.clone() };
                    if let Some(name) = name {
                        inside.namespace = format!("{}{name}:", outer.namespace);
                    }
                    self.add(inner, &inside);
                }
                EntryTarget::Route { limits, starter } => {
                    let Some(segments) = segments else { continue };
                    let name = name.map(|name| format!("{}{name}", outer.namespace));
                    let route = MatchedRoute::new(whole);
                    let endpoint = Endpoint { route, name, limits, middleware: chain.clone(), starter };
                    self.routes.push(Route { pattern: Pattern { segments }, endpoint: Arc::new(endpoint) });
                }
            }
        }
    }

    /// Joins the segments of a prefix and a pattern. If one of them is not valid, notes the error and returns
    /// `None`.
    fn join_segments(
        &mut self,
        outer: Option<&[Segment]>,
        own: Result<Vec<Segment>, String>,
        whole: &str,
    ) -> Option<Vec<Segment>> {
        let joined = own.and_then(|own| {
            let joined = [outer.unwrap_or_default(), &own].concat();
            check_joined(&joined).map(|()| joined)
        });
        match joined {
            Ok(joined) => outer.map(|_| joined),
            Err(reason) => {
                self.errors.push(RouteError::BadPattern { pattern: whole.to_owned(), reason });
                None
            }
        }
    }

    /// Notes names that are used twice, and routes that can never match.
    fn check(&mut self) {
        let mut names: HashMap<&str, &str> = HashMap::new();
        for endpoint in self.routes.iter().map(|route| &*route.endpoint) {
            let Some(name) = &endpoint.name else { continue };
            let later = endpoint.pattern();
            if let Some(earlier) = names.insert(name, later) {
                let (name, earlier, later) = (name.clone(), earlier.to_owned(), later.to_owned());
                self.errors.push(RouteError::DuplicateName { name, earlier, later });
            }
        }
        for (at, later) in self.routes.iter().enumerate() {
            let is_http = later.endpoint.starter.is_http();
            let rivals = self.routes[..at].iter().filter(|one| one.endpoint.starter.is_http() == is_http);
            let found = rivals.into_iter().find_map(|earlier| {
                overlap(&earlier.pattern, &later.pattern).map(|overlap| (earlier, overlap))
            });
            let Some((earlier, overlap)) = found else { continue };
            let (earlier, later) =
                (earlier.endpoint.pattern().to_owned(), later.endpoint.pattern().to_owned());
            self.errors.push(match overlap {
                Overlap::SameShape => RouteError::SameShape { earlier, later },
                Overlap::Shadowed => RouteError::Shadowed { earlier, later },
            });
        }
    }
}

/// The text of a nested pattern, for logs and errors.
fn join(prefix: &str, pattern: &str) -> String {
    match prefix.strip_suffix('/') {
        Some(prefix) if pattern.starts_with('/') => format!("{prefix}{pattern}"),
        _ => format!("{prefix}{pattern}"),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{super::endpoint::testing::nobody, *};
    use crate::middleware::{from_fn, run};

    fn errors(router: UrlRouter) -> Vec<RouteError> {
        router.build().unwrap_err().iter().cloned().collect()
    }

    /// Channels' `test_invalid_routes`. The errors are found when the router is built, not when a client comes.
    #[test]
    fn all_errors_are_reported_at_once() {
        struct Broken;
        #[async_trait::async_trait(?Send)]
        impl Middleware for Broken {
            async fn handle(&self, _: &mut Scope) -> Result<(), crate::middleware::Rejection> {
                Ok(())
            }
            fn check(&self) -> Result<()> {
                Err(crate::Error::msg("it is broken"))
            }
        }
        let inner = UrlRouter::new().route("/{b", nobody).route("/ok/", nobody).name("x").wrap(Broken);
        let router = UrlRouter::new()
            .name("early")
            .route("foo/", nobody)
            .nest("/{a:nope}/", inner)
            .route("/ok/", nobody)
            .name("x")
            .route("/{b}/", nobody)
            .route("/{c}/", nobody)
            .name("x");
        let errors = errors(router);
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 7, "{texts:#?}");
        for (text, part) in texts.iter().zip([
            "no route was added before the name \"early\"",
            "the pattern \"foo/\" is not valid: it does not begin with `/`",
            "the pattern \"/{a:nope}/\" is not valid",
            "it is broken",
            "the pattern \"/{a:nope}/{b\" is not valid: a `{` is never closed",
            "\"/ok/\" and \"/{c}/\" are both named \"x\"",
            "\"/{c}/\" takes the same paths as \"/{b}/\"",
        ]) {
            assert!(text.contains(part), "{text}: {part}");
        }
        let all = RouteErrors(errors).to_string();
        assert_eq!(all.lines().count(), 7);
    }

    #[test]
    fn routes_that_can_never_match_are_errors() {
        let found = errors(UrlRouter::new().route("/{a}/", nobody).route("/b/", nobody));
        assert_eq!(found, [RouteError::Shadowed { earlier: "/{a}/".into(), later: "/b/".into() }]);
        let inner = || UrlRouter::new().route("/x/", nobody);
        let found = errors(UrlRouter::new().nest("/a/", inner()).route("/a/x/", nobody));
        assert_eq!(found, [RouteError::SameShape { earlier: "/a/x/".into(), later: "/a/x/".into() }]);
        let other = UrlRouter::new().route("/y/", nobody);
        assert!(UrlRouter::new().nest("/a", inner()).nest("/a", other).build().is_ok(), "one prefix, twice");
    }

    #[test]
    fn two_parameters_over_several_segments_are_an_error() {
        let inner = UrlRouter::new().route("/{q:path}", nobody);
        let found = errors(UrlRouter::new().nest("/{p:path}/", inner));
        assert!(
            matches!(&found[..], [RouteError::BadPattern { pattern, .. }] if pattern == "/{p:path}/{q:path}")
        );
    }

    #[test]
    fn the_outermost_middleware_runs_first() {
        fn note(name: &'static str) -> impl Middleware {
            from_fn(async move |scope: &mut Scope| {
                let mut order: Vec<&'static str> = scope.remove().unwrap_or_default();
                order.push(name);
                scope.insert(order);
                Ok(())
            })
        }
        let inner = UrlRouter::new().wrap(note("inner")).route("/in/", nobody);
        let router = UrlRouter::new()
            .wrap(note("outer"))
            .nest("/", inner)
            .route("/out/", nobody)
            .wrap(note("outermost"));
        let routes = router.build().unwrap();
        for (path, expected) in
            [("/in/", &["outermost", "outer", "inner"][..]), ("/out/", &["outermost", "outer"])]
        {
            let mut scope = Scope::builder(path).build();
            let endpoint = routes.route(&mut scope).unwrap();
            run(&endpoint.middleware, &mut scope).now_or_never().unwrap().unwrap();
            assert_eq!(scope.get::<Vec<&str>>().unwrap(), expected);
        }
    }

    #[test]
    fn a_route_may_have_limits_of_its_own() {
        let router = UrlRouter::new().route("/a/", nobody).route_with("/b/", Limits::new().tasks(3), nobody);
        let routes = router.build().unwrap();
        let limits = |path| routes.resolve(path).unwrap().endpoint().limits.clone();
        assert_eq!((limits("/a/"), limits("/b/")), (None, Some(Arc::new(Limits::new().tasks(3)))));
    }

    #[test]
    fn debug_shows_where_patterns_lead() {
        let inner = UrlRouter::new().route("/x/", nobody);
        let text = format!("{:?}", UrlRouter::new().nest("/a", inner));
        assert!(text.starts_with("{\"/a\": {\"/x/\": ") && text.contains("Nobody"), "{text}");
    }

    #[test]
    fn a_thousand_routes_build_and_resolve() {
        let many =
            (0..1000).fold(UrlRouter::new(), |router, at| router.route(format!("/ws/r{at}/{{id}}/"), nobody));
        let routes = many.build().unwrap();
        assert_eq!(routes.resolve("/ws/r999/7/").unwrap().pattern(), "/ws/r999/{id}/");
        assert!(routes.resolve(&"/ws".repeat(20_000)).is_none());
    }
}
