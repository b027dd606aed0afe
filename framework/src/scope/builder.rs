//! Makes scopes: from a request, or by hand in a test.

use std::{cell::Cell, fmt, net::SocketAddr, rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{HeaderName, HeaderValue},
    test::TestRequest,
    web,
};
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use super::{Remaining, Scheme, Scope, header_block::HeaderBlock, text::Texts, values::TypeMap};

/// Makes a [`Scope`] without a connection, for tests.
///
/// ```
/// use greenroom::Scope;
///
/// let scope = Scope::builder("/ws/room/lobby/?lang=en").header("host", "example.com").param("room", "lobby").build();
/// assert_eq!(scope.param_str("room"), Some("lobby"));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ScopeBuilder {
    root_path: String,
    path: String,
    query: String,
    headers: Vec<u8>,
    params: Vec<(String, String)>,
    peer: Option<SocketAddr>,
    secure: bool,
    of_loopback: bool,
    of_app: OfApp,
}

type AddData = Rc<dyn Fn(TestRequest) -> TestRequest>;
type AddReqData = Rc<dyn Fn(&HttpRequest)>;

/// What the App of a real connection would have added to its request.
#[derive(Clone, Default)]
struct OfApp {
    data: Vec<AddData>,
    req_data: Vec<AddReqData>,
}

impl fmt::Debug for OfApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.data.len() + self.req_data.len())
    }
}

impl Scope {
    /// A scope for tests. `target` is a path, with a query string behind a `?` if it has one.
    pub fn builder(target: &str) -> ScopeBuilder {
        ScopeBuilder::new(target)
    }
}

impl ScopeBuilder {
    pub(super) fn new(target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            root_path: String::new(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            params: Vec::new(),
            peer: None,
            secure: false,
            of_loopback: false,
            of_app: OfApp::default(),
        }
    }

    /// Adds a header. Names may repeat.
    ///
    /// # Panics
    /// If a request cannot have such a name or value.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let name = HeaderName::try_from(name).unwrap_or_else(|error| panic!("header {name:?}: {error}"));
        if let Err(error) = HeaderValue::from_bytes(value) {
            panic!("the value of header {name}: {error}");
        }
        HeaderBlock::push(&mut self.headers, name.as_str(), value);
        self
    }

    /// Adds a parameter, as a route would.
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds data of the App, for [`Scope::data`].
    pub fn data<T: ?Sized + 'static>(mut self, data: Arc<T>) -> Self {
        let data = web::Data::from(data);
        self.of_app.data.push(Rc::new(move |request| request.app_data(data.clone())));
        self
    }

    /// Adds a value to the extensions of the request, as a middleware of the App would, for [`Scope::req_data`].
    pub fn req_data<T: Clone + 'static>(mut self, value: T) -> Self {
        self.of_app.req_data.push(Rc::new(move |request| {
            request.extensions_mut().insert(value.clone());
        }));
        self
    }

    /// The client's address. Default none.
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The prefix that the routes are mounted below. Default none.
    pub fn root_path(mut self, root_path: &str) -> Self {
        root_path.clone_into(&mut self.root_path);
        self
    }

    /// Makes the request one over TLS. Default plain HTTP.
    pub fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// Makes the request one that came to a listener on a loopback address.
    #[cfg(test)]
    pub(crate) fn of_loopback(mut self) -> Self {
        self.of_loopback = true;
        self
    }

    /// The scope.
    #[must_use]
    pub fn build(self) -> Scope {
        let parts = RequestParts {
            root_path: &self.root_path,
            path: &self.path,
            query: &self.query,
            host: "",
            headers: &self.headers,
            peer: self.peer,
            secure: self.secure,
            of_loopback: self.of_loopback,
        };
        let mut scope = parts.into_scope();
        if !self.params.is_empty() {
            let params = self.params.iter().map(|(name, value)| (name.as_str(), value.into()));
            scope.set_params(params, false);
        }
        if !self.of_app.data.is_empty() || !self.of_app.req_data.is_empty() {
            scope.set_request(&self.request());
        }
        scope
    }

    /// The request of actix-web that a client would have sent.
    fn request(&self) -> HttpRequest {
        let target = format!("{}{}?{}", self.root_path, self.path, self.query);
        let mut request = TestRequest::with_uri(&target);
        for (name, value) in HeaderBlock(&self.headers).iter() {
            request = request.append_header((name, value));
        }
        if let Some(peer) = self.peer {
            request = request.peer_addr(peer);
        }
        let request = self.of_app.data.iter().fold(request, |request, add| add(request)).to_http_request();
        self.of_app.req_data.iter().for_each(|add| add(&request));
        request
    }
}

impl Scope {
    /// The scope of a request. Its path is the part that actix-web's routing has not consumed.
    pub(crate) fn from_request(request: &HttpRequest) -> Self {
        Self::of_parts(request, split_path(request))
    }

    /// The path of a request, as its scope has it: without the prefix of the actix-web scope.
    pub(crate) fn path_of(request: &HttpRequest) -> &str {
        split_path(request).1
    }

    /// The scope of a request that actix-web's router has matched to its end.
    ///
    /// `captured` is what the router has captured behind the first slash of the path below the prefix.
    pub(crate) fn from_matched(request: &HttpRequest, captured: &str) -> Self {
        let raw = request.uri().path();
        // The raw path has the same slashes: see `split_path`.
        let at = raw.rmatch_indices('/').nth(captured.matches('/').count()).map_or(0, |(at, _)| at);
        Self::of_parts(request, raw.split_at(at))
    }

    fn of_parts(request: &HttpRequest, (root_path, path): (&str, &str)) -> Self {
        let mut headers = Vec::with_capacity(1024);
        for (name, value) in request.headers() {
            HeaderBlock::push(&mut headers, name.as_str(), value.as_bytes());
        }
        let uri = request.uri();
        let parts = RequestParts {
            root_path,
            path,
            query: uri.query().unwrap_or_default(),
            host: uri.authority().map_or("", |authority| {
                authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host)
            }),
            headers: &headers,
            peer: request.peer_addr(),
            secure: request.app_config().secure(),
            of_loopback: is_of_loopback(request),
        };
        let scope = parts.into_scope();
        scope.set_request(request);
        scope
    }
}

/// Whether a request came to a listener on a loopback address.
///
/// For a Unix socket both hosts say the address 127.0.0.1, but there the peer has no address.
fn is_of_loopback(request: &HttpRequest) -> bool {
    let local = request.app_config().local_addr().ip().to_canonical();
    local.is_loopback() && request.peer_addr().is_some()
}

/// Splits the raw path of the request at the point up to which actix-web has consumed it.
///
/// actix-web matches a half-decoded path: it decodes all but `%2F`, `%25` and `%2B`, and replaces invalid UTF-8. To
/// decode that again would decode some texts twice. So the same point is found in the raw path by counting slashes,
/// which are the same in both.
fn split_path(request: &HttpRequest) -> (&str, &str) {
    let raw = request.uri().path();
    let matched = request.match_info();
    let (all, rest) = (matched.as_str(), matched.unprocessed());
    if all.len() == rest.len() {
        return ("", raw);
    }
    if raw == all {
        return raw.split_at(raw.len() - rest.len());
    }
    let behind_slash = all[..all.len() - rest.len()].ends_with('/');
    if rest.is_empty() && !behind_slash {
        return (raw, "");
    }
    let slashes = rest.matches('/').count() + usize::from(behind_slash);
    let slash = raw.rmatch_indices('/').nth(slashes.saturating_sub(1)).map_or(0, |(at, _)| at);
    raw.split_at(slash + usize::from(behind_slash))
}

struct RequestParts<'a> {
    root_path: &'a str,
    path: &'a str,
    query: &'a str,
    host: &'a str,
    headers: &'a [u8],
    peer: Option<SocketAddr>,
    secure: bool,
    of_loopback: bool,
}

impl RequestParts<'_> {
    fn into_scope(self) -> Scope {
        let decoded = percent_decode_str(self.path).decode_utf8().unwrap_or_default();
        let decoded = if decoded == self.path { "" } else { &*decoded };
        let texts = [self.root_path, self.path, decoded, self.query, self.host];
        let mut parts: SmallVec<[&[u8]; 8]> = texts.iter().map(|text| text.as_bytes()).collect();
        parts.push(self.headers);
        Scope {
            texts: Texts::new(&parts),
            peer: self.peer,
            scheme: if self.secure { Scheme::Https } else { Scheme::Unknown },
            remaining: Remaining::All,
            origin_checked: false,
            host_checked: false,
            of_loopback: self.of_loopback,
            extensions: TypeMap::default(),
            handshake: Cell::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App, HttpResponse,
        test::{TestRequest, call_and_read_body, init_service},
        web,
    };

    use super::*;

    #[test]
    fn a_request_gives_all_its_parts() {
        let request = TestRequest::with_uri("/ws/a%2Fb/?x=1")
            .insert_header(("Host", "example.com:8000"))
            .append_header(("X-Twice", "1"))
            .append_header(("X-Twice", "2"))
            .peer_addr("192.0.2.1:4711".parse().unwrap())
            .to_http_request();
        let scope = Scope::from_request(&request);
        assert_eq!((scope.raw_path(), scope.path(), scope.root_path()), ("/ws/a%2Fb/", "/ws/a/b/", ""));
        assert_eq!((scope.query_string(), scope.host()), ("x=1", Some("example.com:8000")));
        assert_eq!(scope.peer(), Some("192.0.2.1:4711".parse().unwrap()));
        assert_eq!(scope.scheme(), "http");
        assert_eq!(scope.headers().filter(|(name, _)| *name == "x-twice").count(), 2);
    }

    #[test]
    fn forwarding_headers_are_not_believed() {
        let request = TestRequest::with_uri("/")
            .insert_header(("Host", "here"))
            .insert_header(("X-Forwarded-Host", "there"))
            .insert_header(("X-Forwarded-Proto", "https"))
            .insert_header(("Daphne-Root-Path", "/root"))
            .to_http_request();
        let scope = Scope::from_request(&request);
        assert_eq!((scope.host(), scope.scheme(), scope.root_path()), (Some("here"), "http", ""));
    }

    #[test]
    fn the_target_names_the_host_before_the_header() {
        let request = TestRequest::with_uri("http://user@target:81/x")
            .insert_header(("Host", "header"))
            .to_http_request();
        assert_eq!(Scope::from_request(&request).host(), Some("target:81"));
    }

    /// Daphne's `test_root_path` and Channels' `root_path` in `test_url_router`: the prefix of an actix-web scope.
    #[actix_web::test]
    async fn the_prefix_of_an_actix_scope_is_the_root_path() {
        async fn show(request: HttpRequest) -> HttpResponse {
            let scope = Scope::from_request(&request);
            HttpResponse::Ok().body(format!("{} {}", scope.root_path(), scope.raw_path()))
        }
        let routes = |prefix: &str| web::scope(prefix).default_service(web::to(show));
        let app = App::new()
            .service(web::scope("/caf\u{e9}").service(routes("/in")))
            .service(routes("/app"))
            .default_service(web::to(show));
        let app = init_service(app).await;
        for (target, expected) in [
            ("/app/ws/a%2Fb/", "/app /ws/a%2Fb/"),
            ("/app/", "/app /"),
            ("/app", "/app "),
            ("/%61pp/%2541%FF/x", "/%61pp /%2541%FF/x"),
            ("/%61pp", "/%61pp "),
            ("/caf%C3%A9/in//ws/", "/caf%C3%A9/in //ws/"),
            ("/other/%2541", " /other/%2541"),
        ] {
            let response = call_and_read_body(&app, TestRequest::with_uri(target).to_request()).await;
            assert_eq!(response, expected.as_bytes(), "{target}");
        }
    }
}
