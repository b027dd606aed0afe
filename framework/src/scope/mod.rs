//! The scope: what is known of a connection.

mod builder;
mod cookies;
mod error;
mod extensions;
mod handshake;
mod header_block;
mod headers;
pub(crate) mod list;
mod params;
mod response;
mod text;
mod values;

use std::{borrow::Cow, cell::Cell, fmt, net::SocketAddr};

use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

pub use self::{
    builder::ScopeBuilder,
    error::{Refusal, ScopeError},
};
pub(crate) use self::{
    cookies::raw_cookies,
    handshake::MatchedRoute,
    response::{answer_header, answer_status},
};
use self::{handshake::Handshake, header_block::HeaderBlock, text::Texts, values::TypeMap};

/// What is known of a connection.
///
/// It has the path and its parameters, headers, cookies, the peer, and what middleware added.
///
/// Each connection has one scope, as in Channels. [Middleware](crate::middleware) may change it before the consumer is
/// made. The consumer then reads it through its context. The texts of the request are copied once into one
/// allocation, so the scope of an idle connection takes about as many bytes as its client sent.
///
/// # Paths
/// Routes may be mounted below an actix-web scope. Then the prefix of that scope is the
/// [`root_path`](Self::root_path), and [`path`](Self::path) is the rest, as with `root_path` in Channels. Routes see
/// only the path.
///
/// The [guide](crate::docs::guide#middleware) has an example.
pub struct Scope {
    /// The parts whose places are the constants below, then the name and value of each parameter.
    texts: Texts,
    peer: Option<SocketAddr>,
    scheme: Scheme,
    remaining: Remaining,
    /// Whether a middleware has allowed the request's origin. If not, the default policy decides.
    origin_checked: bool,
    /// Whether a middleware has allowed the request's host. If not, the listener decides.
    host_checked: bool,
    /// Whether the request came to a listener on a loopback address.
    of_loopback: bool,
    extensions: TypeMap,
    /// `None` after the answer, so that an idle connection keeps nothing of it.
    handshake: Cell<Option<Box<Handshake>>>,
}

const ROOT_PATH: usize = 0;
const RAW_PATH: usize = 1;
/// Empty if it is the same as the raw path.
const PATH: usize = 2;
const QUERY: usize = 3;
/// Empty if it is in the `Host` header.
const HOST: usize = 4;
const HEADERS: usize = 5;
const PARAMS: usize = 6;

/// The part of the path that [`Scope::path_remaining`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    /// All of it: no route has matched yet.
    All,
    /// The value of the last parameter.
    LastParam,
    /// Nothing: the route matched all of it.
    Nothing,
}

/// The scheme that the client used, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// A trusted proxy says that it was plain HTTP.
    Http,
    /// TLS ends here, or a trusted proxy says so.
    Https,
    /// Plain HTTP arrived, but an unknown proxy may have ended TLS.
    Unknown,
}

/// The method of an HTTP exchange. For a WebSocket it is always GET, and not kept.
struct Method(actix_web::http::Method);

impl Scope {
    /// The path below the [`root_path`](Self::root_path), percent-decoded, as in Channels.
    ///
    /// If the decoded path is not UTF-8, it stays as the client sent it. No route with a parameter matches it then.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.texts.text(PATH) {
            "" => self.raw_path(),
            path => path,
        }
    }

    /// The path below the [`root_path`](Self::root_path), as the client sent it.
    #[must_use]
    pub fn raw_path(&self) -> &str {
        self.texts.text(RAW_PATH)
    }

    /// The prefix of the actix-web scope that the routes are mounted below.
    ///
    /// It is written as the client sent it, and is empty without such a scope. It never comes from a header, as it
    /// does in Daphne, because then any client could set it.
    #[must_use]
    pub fn root_path(&self) -> &str {
        self.texts.text(ROOT_PATH)
    }

    /// The query string behind `?`, as the client sent it. Empty if there is none.
    #[must_use]
    pub fn query_string(&self) -> &str {
        self.texts.text(QUERY)
    }

    /// Reads the query string as a serde type.
    ///
    /// # Errors
    /// [`ScopeError::BadQuery`] if it is not a `T`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, ScopeError> {
        actix_web::web::Query::<T>::from_query(self.query_string())
            .map(actix_web::web::Query::into_inner)
            .map_err(|error| ScopeError::BadQuery { reason: error.to_string() })
    }

    /// The first value of `name` in the query string, decoded.
    ///
    /// It is decoded like a form, so `+` is a space.
    #[must_use]
    pub fn query_param(&self, name: &str) -> Option<Cow<'_, str>> {
        let pairs = self.query_string().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| decode_form(key) == name)
            .map(|(_, value)| decode_form(value))
    }

    /// The method of the request. It is `GET` for every WebSocket.
    #[must_use]
    pub fn method(&self) -> &str {
        self.get::<Method>().map_or("GET", |method| method.0.as_str())
    }

    /// Whether this is an HTTP exchange with a method that changes nothing.
    ///
    /// A page of another site cannot read the answer, and does no harm by asking (RFC 9110, section 9.2.1).
    pub(crate) fn is_safe_exchange(&self) -> bool {
        self.get::<Method>().is_some_and(|method| method.0.is_safe())
    }

    /// Makes this the scope of an HTTP exchange.
    pub(crate) fn set_method(&mut self, method: actix_web::http::Method) {
        self.insert(Method(method));
    }

    /// The client's address. `None` on a Unix socket.
    ///
    /// It comes from the socket, or from a trusted proxy ([`TrustedProxies`](crate::middleware::TrustedProxies)).
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// `https` if TLS ends at this server or a trusted proxy says so, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.scheme == Scheme::Https { "https" } else { "http" }
    }

    /// The host that the client asked for, with the port if the client named one.
    ///
    /// It comes from the request's target, from its `Host` header, or from a trusted proxy.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self.texts.text(HOST) {
            "" => self.header("host"),
            host => Some(host),
        }
    }

    pub(crate) fn known_scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn is_origin_checked(&self) -> bool {
        self.origin_checked
    }

    pub(crate) fn set_origin_checked(&mut self) {
        self.origin_checked = true;
    }

    pub(crate) fn is_host_checked(&self) -> bool {
        self.host_checked
    }

    pub(crate) fn set_host_checked(&mut self) {
        self.host_checked = true;
    }

    pub(crate) fn is_of_loopback(&self) -> bool {
        self.of_loopback
    }

    pub(crate) fn set_peer(&mut self, peer: Option<SocketAddr>) {
        self.peer = peer;
    }

    pub(crate) fn set_scheme(&mut self, scheme: Scheme) {
        self.scheme = scheme;
    }

    pub(crate) fn set_query(&mut self, query: &str) {
        self.texts = self.texts.replaced(QUERY, query.as_bytes());
    }

    pub(crate) fn set_host(&mut self, host: &str) {
        self.texts = self.texts.replaced(HOST, host.as_bytes());
    }
}

fn decode_form(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Leaves out possible secrets: the query string, and the values of cookies, authorization and subprotocols.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("root_path", &self.root_path())
            .field("path", &self.path())
            .field("params", &self.params().collect::<Vec<_>>())
            .field("peer", &self.peer)
            .field("scheme", &self.scheme())
            .field("host", &self.host())
            .field("headers", &HeaderBlock(self.texts.get(HEADERS)))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        let scope = Scope::builder("/foo%2Fbar/%25/caf%C3%A9?x=%41").build();
        assert_eq!(scope.path(), "/foo/bar/%/café");
        assert_eq!(scope.raw_path(), "/foo%2Fbar/%25/caf%C3%A9");
        assert_eq!(scope.query_string(), "x=%41");
        let broken = Scope::builder("/%FF/").build();
        assert_eq!(broken.path(), "/%FF/");
    }

    #[test]
    fn the_query_is_read_as_a_form() {
        #[derive(serde::Deserialize)]
        struct Page {
            page: u32,
            q: String,
        }
        let scope = Scope::builder("/?page=3&q=a+b%26c&q2&page=4").build();
        let page: Page = Scope::builder("/?page=3&q=a+b%26c").build().query().unwrap();
        assert_eq!((page.page, page.q.as_str()), (3, "a b&c"));
        assert_eq!(scope.query_param("page").as_deref(), Some("3"), "the first");
        assert_eq!(scope.query_param("q").as_deref(), Some("a b&c"));
        assert_eq!(scope.query_param("q2").as_deref(), Some(""));
        assert_eq!(scope.query_param("none"), None);
        assert_eq!(Scope::builder("/").build().query_param(""), None);
        let error = Scope::builder("/?page=x&q=").build().query::<Page>().err().unwrap();
        assert!(matches!(&error, ScopeError::BadQuery { .. }), "{error}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let scope = Scope::builder("/a/?token=secret")
            .header("authorization", "Bearer secret")
            .header("cookie", "sessionid=secret")
            .header("proxy-authorization", "secret")
            .header("sec-websocket-protocol", "bearer.secret")
            .header("x-plain", "shown")
            .build();
        let text = format!("{scope:?}");
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("shown") && text.contains("authorization"), "{text}");
    }
}
