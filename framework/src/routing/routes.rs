use std::{borrow::Cow, fmt, sync::Arc};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{
    endpoint::Endpoint,
    error::ReverseError,
    pattern::{Param, Pattern, Segment, Spans, decode},
};
use crate::{Scope, middleware};

/// The checked routes of a [`UrlRouter`](crate::UrlRouter). Cheap to clone; all threads share them.
///
/// The [guide](crate::docs::guide#routing) has an example.
#[derive(Clone)]
pub struct Routes(Arc<[Route]>);

#[derive(Debug)]
pub(super) struct Route {
    pub(super) pattern: Pattern,
    pub(super) endpoint: Arc<Endpoint>,
}

/// The route of a path, and the values of its parameters.
///
/// See [`Routes`](super::Routes).
#[derive(Debug)]
pub struct Match<'r, 'p> {
    route: &'r Route,
    path: &'p str,
    spans: Spans,
}

/// The characters that are encoded in a segment: those that may not be in one (RFC 3986, section 3.3), and `%`.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The same for a value over several segments, whose slashes stay.
const SEGMENTS: &AsciiSet = &SEGMENT.remove(b'/');

impl Routes {
    pub(super) fn new(routes: Vec<Route>) -> Self {
        Self(routes.into())
    }

    /// Finds the first WebSocket route that matches a path.
    ///
    /// The path may be percent-encoded. The routes are tried in their order, and literals are compared before
    /// parameters. Nothing is allocated for up to four parameters.
    #[must_use]
    pub fn resolve<'r, 'p>(&'r self, path: &'p str) -> Option<Match<'r, 'p>> {
        self.find(path, false).map(|(route, spans)| Match { route, path, spans })
    }

    /// Finds the first route for HTTP that matches a path, as [`resolve`](Self::resolve).
    #[must_use]
    pub fn resolve_http<'r, 'p>(&'r self, path: &'p str) -> Option<Match<'r, 'p>> {
        self.find(path, true).map(|(route, spans)| Match { route, path, spans })
    }

    /// Makes the path of a named route, percent-encoded.
    ///
    /// From this path [`resolve`](Self::resolve) gives the same values. The slashes in the value of a `path`
    /// parameter stay; in other values they are encoded. The name of a route in a named nested router is
    /// `outer:inner`. No parameter takes a segment `.` or `..`, because browsers resolve such segments.
    ///
    /// # Errors
    /// [`ReverseError`] says which name or parameter is unknown or missing, or which value does not fit.
    pub fn reverse(&self, name: &str, params: &[(&str, &str)]) -> Result<String, ReverseError> {
        let named = |route: &&Route| route.endpoint.name.as_deref() == Some(name);
        let Some(Route { pattern, endpoint }) = self.0.iter().find(named) else {
            let known = self.0.iter().filter_map(|route| route.endpoint.name.clone()).collect();
            return Err(ReverseError::UnknownRoute { name: name.to_owned(), known });
        };
        let text = || endpoint.pattern().to_owned();
        let is_param = |name: &str| pattern.params().any(|param| param.name == name);
        if let Some((unknown, _)) = params.iter().find(|(name, _)| !is_param(name)) {
            return Err(ReverseError::UnknownParam { param: (*unknown).to_owned(), pattern: text() });
        }
        let mut path = String::with_capacity(64);
        for segment in &pattern.segments {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.extend(utf8_percent_encode(text, SEGMENT)),
                Segment::Param(param) => {
                    let given = params.iter().find(|(name, _)| *name == param.name);
                    let (_, value) = given.ok_or_else(|| ReverseError::MissingParam {
                        param: param.name.clone(),
                        pattern: text(),
                    })?;
                    let encoded =
                        encode(param, value, segment.spans()).ok_or_else(|| ReverseError::BadParam {
                            param: param.name.clone(),
                            value: (*value).to_owned(),
                            pattern: text(),
                        })?;
                    path.push_str(&encoded);
                }
            }
        }
        Ok(path)
    }

    /// Finds the scope's WebSocket route, and gives the scope its parameters.
    pub(crate) fn route(&self, scope: &mut Scope) -> Option<Arc<Endpoint>> {
        let path = scope.raw_path().to_owned();
        self.resolve(&path).map(|found| Self::enter(scope, &found))
    }

    /// Finds the scope's route for HTTP, and gives the scope its parameters.
    pub(crate) fn route_http(&self, scope: &mut Scope) -> Option<Arc<Endpoint>> {
        let path = scope.raw_path().to_owned();
        self.resolve_http(&path).map(|found| Self::enter(scope, &found))
    }

    /// Whether there is a route for HTTP.
    pub(crate) fn has_http(&self) -> bool {
        self.0.iter().any(|route| route.endpoint.starter.is_http())
    }

    /// Whether pages of another origin may send requests to this path.
    ///
    /// If the path has no route, they may read that, if they may send requests to any other path.
    pub(crate) fn allows_origin(&self, path: &str, origin: &str) -> bool {
        let allows = |route: &Route| middleware::allows_origin(&route.endpoint.middleware, origin);
        match self.find(path, false) {
            Some((route, _)) => allows(route),
            None => self.0.iter().any(allows),
        }
    }

    /// Patterns for actix-web's router, which match the paths of the HTTP routes and a few more.
    ///
    /// Everything after the first slash is captured as `name`.
    pub(crate) fn http_patterns(&self, name: &str) -> Vec<String> {
        let http = self.0.iter().filter(|route| route.endpoint.starter.is_http());
        http.map(|route| route.pattern.for_actix(name)).collect()
    }

    fn enter(scope: &mut Scope, found: &Match<'_, '_>) -> Arc<Endpoint> {
        scope.set_params(found.params(), found.route.pattern.ends_in_rest());
        scope.set_route(&found.endpoint().route);
        found.endpoint().clone()
    }

    fn find(&self, path: &str, is_http: bool) -> Option<(&Route, Spans)> {
        let routes = self.0.iter().filter(|route| route.endpoint.starter.is_http() == is_http);
        routes.into_iter().find_map(|route| route.pattern.find(path).map(|spans| (route, spans)))
    }
}

/// Encodes a value for a path. `None` if it does not fit the parameter.
fn encode(param: &Param, value: &str, spans: bool) -> Option<String> {
    if !param.kind.fits(value) {
        return None;
    }
    let whole = [&*param.before, value, &*param.after].concat();
    let dots = |segment: &str| segment == "." || segment == "..";
    if dots(&whole) || spans && whole.split('/').any(dots) {
        return None;
    }
    Some(utf8_percent_encode(&whole, if spans { SEGMENTS } else { SEGMENT }).to_string())
}

impl Match<'_, '_> {
    /// The pattern of the route, prefixes of outer routers included.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.route.endpoint.pattern()
    }

    /// The name of the route, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.route.endpoint.name.as_deref()
    }

    /// The type name of the consumer that the route makes.
    #[must_use]
    pub fn consumer(&self) -> &'static str {
        self.route.endpoint.starter.describe()
    }

    /// The parameters, percent-decoded, in the order of the pattern.
    pub fn params(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let value = |span: &std::ops::Range<usize>| decode(&self.path[span.clone()]).unwrap_or_default();
        self.route.pattern.visible(&self.spans).map(move |(name, span)| (name, value(span)))
    }

    /// The endpoint of the route.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.route.endpoint
    }
}

/// Shows the patterns and the consumers of their routes.
impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.0.iter().map(|route| (route.endpoint.pattern(), route.endpoint.starter.describe()));
        f.debug_map().entries(routes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::endpoint::testing::nobody, *};
    use crate::UrlRouter;

    /// The pattern that a path resolves to, and its parameters.
    fn find(routes: &Routes, path: &str) -> Option<(String, Vec<(String, String)>)> {
        let found = routes.resolve(path)?;
        let params = found.params().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
        Some((found.pattern().to_owned(), params))
    }

    fn params(routes: &Routes, path: &str) -> Vec<(String, String)> {
        find(routes, path).unwrap_or_else(|| panic!("no route for {path}")).1
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Channels' `test_url_router`. Greenroom has no positional captures and no default arguments: parameters have
    /// names, and the route's function holds constants. Channels' `re_path("bar")` is unanchored; a Greenroom
    /// pattern ends in `{rest:path}`.
    #[test]
    fn upstream_url_router() {
        let router = UrlRouter::new()
            .route("/", nobody)
            .route("/foo/", nobody)
            .route("/bar/", nobody)
            .route("/bar/{rest:path}", nobody)
            .route(r"/posarg/{number:\d+}/", nobody)
            .route("/kwarg/{name:str}/", nobody);
        let routes = router.build().unwrap();
        for path in ["/", "/foo/", "/bar/"] {
            assert_eq!(find(&routes, path).unwrap(), (path.to_owned(), vec![]));
        }
        assert_eq!(params(&routes, "/bar/baz/"), pairs(&[("rest", "baz/")]));
        assert_eq!(params(&routes, "/posarg/123/"), pairs(&[("number", "123")]));
        assert_eq!(params(&routes, "/kwarg/hello/"), pairs(&[("name", "hello")]));
        for path in ["/nonexistent/", "/posarg/x/", "/kwarg/a/b/", "/foo", "//foo/", ""] {
            assert!(find(&routes, path).is_none(), "{path}");
        }
    }

    /// Channels' `test_url_router_nesting`: captures of both levels are merged.
    #[test]
    fn upstream_url_router_nesting() {
        let inner = || {
            UrlRouter::new()
                .route(r"/book/{book:[\w\-]+}/page/{page:\d+}/", nobody)
                .route(r"/test/{number:\d+}/", nobody)
        };
        let router =
            UrlRouter::new().nest(r"/universe/{universe:\d+}/", inner()).nest(r"/moon/{moon:\w+}/", inner());
        let routes = router.build().unwrap();
        assert_eq!(
            params(&routes, "/universe/42/book/channels-guide/page/10/"),
            pairs(&[("universe", "42"), ("book", "channels-guide"), ("page", "10")])
        );
        assert_eq!(params(&routes, "/moon/alpha/test/5/"), pairs(&[("moon", "alpha"), ("number", "5")]));
        assert!(find(&routes, "/universe/x/test/5/").is_none());
    }

    /// Channels' `test_url_router_nesting_path`: a path that is longer than the inner pattern does not match.
    #[test]
    fn upstream_url_router_nesting_path() {
        let inner = UrlRouter::new().route("/test/{page:int}/", nobody);
        let routes = UrlRouter::new().nest("/number/{number:int}/", inner).build().unwrap();
        assert_eq!(params(&routes, "/number/42/test/3/"), pairs(&[("number", "42"), ("page", "3")]));
        for path in ["/number/42/test/3/bla/", "/number/42/blub/", "/number/42/", "/number/42"] {
            assert!(find(&routes, path).is_none(), "{path}");
        }
    }

    /// Channels' `test_url_router_path`: the converter checks the text, `Scope::param` gives the integer.
    #[test]
    fn upstream_url_router_path() {
        let routes =
            UrlRouter::new().route("/author/{name}/", nobody).route("/year/{year:int}/", |scope: &Scope| {
                scope.param::<u32>("year")?;
                nobody(scope)
            });
        let routes = routes.build().unwrap();
        let mut scope = Scope::builder("/year/2012/").build();
        assert_eq!(routes.route(&mut scope).unwrap().pattern(), "/year/{year:int}/");
        assert_eq!(scope.param::<u32>("year"), Ok(2012));
        assert!(find(&routes, "/year/uhh/").is_none());
    }

    /// Channels' `test_path_remaining`: if the inner router has no match, the outer one goes on.
    #[test]
    fn upstream_path_remaining() {
        let inner = UrlRouter::new().route("/no-match/", nobody);
        let router = UrlRouter::new().nest("/prefix/", inner).route("/prefix/stuff/", nobody);
        let routes = router.build().unwrap();
        assert_eq!(find(&routes, "/prefix/stuff/").unwrap().0, "/prefix/stuff/");
        let mut below = Scope::builder("/prefix/stuff/").root_path("/root").build();
        assert!(routes.route(&mut below).is_some());
        assert_eq!((below.path_remaining(), below.root_path()), ("", "/root"));
    }

    #[test]
    fn a_scope_gets_its_parameters_and_what_remains() {
        let routes = UrlRouter::new().route("/f/{a}/{rest:path}", nobody).build().unwrap();
        let mut scope = Scope::builder("/f/x%20y/b%2Fc/d?q=1").build();
        let endpoint = routes.route(&mut scope).unwrap();
        assert_eq!(endpoint.pattern(), "/f/{a}/{rest:path}");
        assert_eq!(scope.params().collect::<Vec<_>>(), [("a", "x y"), ("rest", "b/c/d")]);
        assert_eq!((scope.path_remaining(), scope.query_string()), ("b/c/d", "q=1"));
        assert!(routes.route(&mut Scope::builder("/g").build()).is_none());
    }

    #[test]
    fn the_inner_of_two_equal_names_wins() {
        let inner = UrlRouter::new().route("/{id}/", nobody).name("it");
        let routes = UrlRouter::new().nest("/{id}/{other}", inner).build().unwrap();
        assert_eq!(params(&routes, "/1/2/3/"), pairs(&[("other", "2"), ("id", "3")]));
    }

    #[test]
    fn the_first_match_wins() {
        let routes = UrlRouter::new().route("/{id:int}/", nobody).route("/{name}/", nobody).build().unwrap();
        assert_eq!(find(&routes, "/12/").unwrap().0, "/{id:int}/");
        assert_eq!(find(&routes, "/ab/").unwrap().0, "/{name}/");
    }

    fn named() -> Routes {
        let inner = || UrlRouter::new().route("/{room}/{id:int}/", nobody).name("room");
        let files = UrlRouter::new().route("/{p:path}", nobody).name("file");
        UrlRouter::new()
            .route("/caf\u{e9} {x}.json", nobody)
            .name("text")
            .nest("/chat", inner())
            .name("chat")
            .nest("/{room}/deep", UrlRouter::new().nest("/er", inner()).name("b"))
            .name("a")
            .nest("/files", files)
            .build()
            .unwrap()
    }

    #[test]
    fn paths_are_made_from_names() {
        let routes = named();
        for (name, given, expected) in [
            ("chat:room", &[("room", "lobby"), ("id", "7")][..], "/chat/lobby/7/"),
            ("chat:room", &[("id", "7"), ("room", "a/b%?#\u{20ac}")], "/chat/a%2Fb%25%3F%23%E2%82%AC/7/"),
            ("a:b:room", &[("room", "x"), ("id", "1")], "/x/deep/er/x/1/"),
            ("file", &[("p", "a b/c%d")], "/files/a%20b/c%25d"),
            ("text", &[("x", "..")], "/caf%C3%A9%20...json"),
        ] {
            let path = routes.reverse(name, given).unwrap();
            assert_eq!(path, expected);
            let found = routes.resolve(&path).unwrap();
            assert_eq!(found.name(), Some(name));
            for (name, value) in found.params() {
                assert!(given.contains(&(name, &value)), "{name} came back as {value}");
            }
        }
    }

    #[test]
    fn a_reverse_that_fails_says_why() {
        let routes = named();
        let error = |name: &str, given: &[(&str, &str)]| routes.reverse(name, given).unwrap_err().to_string();
        assert_eq!(error("room", &[]), "no route is named \"room\", only text, chat:room, a:b:room, file");
        let pattern = "\"/chat/{room}/{id:int}/\"";
        assert_eq!(
            error("chat:room", &[("room", "x")]),
            format!("the parameter \"id\" of {pattern} has no value")
        );
        let given = [("room", "x"), ("id", "7"), ("no", "")];
        assert_eq!(error("chat:room", &given), format!("{pattern} has no parameter \"no\""));
        let unfit = format!("\"x\" does not fit the parameter \"id\" of {pattern}");
        assert_eq!(error("chat:room", &[("room", "x"), ("id", "x")]), unfit);
        for room in ["", ".", ".."] {
            assert!(error("chat:room", &[("room", room), ("id", "7")]).contains("does not fit"), "{room:?}");
        }
        for path in ["", "a/../b", "./a"] {
            assert!(error("file", &[("p", path)]).contains("does not fit"), "{path:?}");
        }
        let none = UrlRouter::new().build().unwrap().reverse("x", &[]).unwrap_err().to_string();
        assert_eq!(none, "no route is named \"x\": name it with `UrlRouter::name`");
    }
}
