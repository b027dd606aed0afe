//! Binds a connection to the client that opened it.
//!
//! Each request for a connection must come from the same origin and user, on the same path.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::LazyLock,
};

use actix_web::{
    HttpRequest,
    http::{Method, header},
};

use smallvec::SmallVec;

use super::settings::Fallback;
use crate::scope::raw_cookies;

/// The origin, the user and the path of an `open`.
///
/// They are kept as hashes under a secret of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    origin: Option<u64>,
    user: u64,
    path: u64,
}

impl Bound {
    pub(crate) fn of(request: &HttpRequest, settings: &Fallback) -> Self {
        Self {
            origin: origin_of(request),
            user: user_of(request, settings),
            path: hash(request.uri().path()),
        }
    }

    /// Whether a request comes from the same origin and user, on the same path.
    pub(crate) fn admits(&self, request: &HttpRequest, settings: &Fallback) -> bool {
        let asks = Self::of(request, settings);
        let origin_fits = match (asks.origin, self.origin) {
            // Browsers send no `Origin` with a GET to the page's own origin.
            (None, Some(_)) => *request.method() == Method::GET && is_of_same_origin(request),
            (asks, own) => asks == own,
        };
        origin_fits && asks.user == self.user && asks.path == self.path
    }
}

fn is_of_same_origin(request: &HttpRequest) -> bool {
    request
        .headers()
        .get("sec-fetch-site")
        .is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
}

fn origin_of(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::ORIGIN).map(|origin| hash(origin.as_bytes()))
}

fn user_of(request: &HttpRequest, settings: &Fallback) -> u64 {
    if let Some(user) = &settings.user {
        return hash(user(request));
    }
    let mut hasher = secret().build_hasher();
    for value in request.headers().get_all(header::AUTHORIZATION) {
        value.as_bytes().hash(&mut hasher);
    }
    let lines = request.headers().get_all(header::COOKIE).map(|line| line.as_bytes());
    let mut cookies: SmallVec<[_; 4]> = raw_cookies(lines)
        .filter(|(name, _)| settings.user_cookies.iter().any(|known| known.as_bytes() == *name))
        .collect();
    // Browsers put a cookie that was set again, or that has another path, into another place.
    cookies.sort_unstable();
    cookies.hash(&mut hasher);
    hasher.finish()
}

fn hash(value: impl Hash) -> u64 {
    secret().hash_one(value)
}

fn secret() -> &'static RandomState {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    &SECRET
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(method: Method, headers: &[(&'static str, &'static str)]) -> HttpRequest {
        let mut request = TestRequest::with_uri("/room/?greenroom=poll").method(method);
        for header in headers {
            request = request.append_header(*header);
        }
        request.to_http_request()
    }

    #[test]
    fn a_request_must_come_from_the_origin_of_the_open() {
        let settings = Fallback::new();
        let own = [("origin", "http://a")];
        let bound = Bound::of(&request(Method::POST, &own), &settings);
        let fits = |method, headers: &[_]| bound.admits(&request(method, headers), &settings);
        assert!(fits(Method::POST, &own) && fits(Method::GET, &own) && fits(Method::GET, &[]));
        assert!(fits(Method::GET, &[("sec-fetch-site", "same-origin")]));
        assert!(!fits(Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(!fits(Method::GET, &[("sec-fetch-site", "same-site")]));
        assert!(!fits(Method::POST, &[]), "browsers send an origin with every POST");
        assert!(!fits(Method::GET, &[("origin", "http://b")]));
        let without = Bound::of(&request(Method::POST, &[]), &settings);
        assert!(without.admits(&request(Method::POST, &[]), &settings));
        assert!(!without.admits(&request(Method::GET, &own), &settings));
    }

    #[test]
    fn a_request_must_come_from_the_user_of_the_open() {
        let settings = Fallback::new();
        let bound = Bound::of(&request(Method::GET, &[("cookie", "x=1; sessionid=s")]), &settings);
        let fits = |headers: &[_]| bound.admits(&request(Method::GET, headers), &settings);
        assert!(fits(&[("cookie", "sessionid=s; x=2")]));
        assert!(fits(&[("cookie", "sessionid=\"s\"")]), "the same cookie, in quotes");
        assert!(!fits(&[("cookie", "%73essionid=s")]));
        assert!(!fits(&[("cookie", "sessionid=%73")]), "values are compared as they were sent");
        assert!(!fits(&[("cookie", "sessionid=t")]));
        assert!(!fits(&[]));
        assert!(!fits(&[("cookie", "sessionid=s"), ("authorization", "Bearer t")]));
        assert!(!fits(&[("cookie", "sessionid=s; id=2")]));
        let both = Bound::of(&request(Method::GET, &[("cookie", "id=1; sessionid=s; id=2")]), &settings);
        for cookies in ["id=2; id=1; sessionid=s", "sessionid=s; x=3; id=1; id=2"] {
            assert!(both.admits(&request(Method::GET, &[("cookie", cookies)]), &settings), "{cookies}");
        }
        let lines = [("cookie", "sessionid=s"), ("cookie", "id=2; id=1")];
        assert!(both.admits(&request(Method::GET, &lines), &settings));
        for cookies in ["id=1; sessionid=s", "id=s; sessionid=1; id=2", "id=1; sessionid=s; id=2; id=2"] {
            assert!(!both.admits(&request(Method::GET, &[("cookie", cookies)]), &settings), "{cookies}");
        }
        let by_header = Fallback::new().bound_to(|request| {
            request.headers().get("x-user").and_then(|user| user.to_str().ok()).map(str::to_owned)
        });
        let bound = Bound::of(&request(Method::GET, &[("x-user", "ann")]), &by_header);
        assert!(bound.admits(&request(Method::GET, &[("x-user", "ann"), ("cookie", "id=1")]), &by_header));
        assert!(!bound.admits(&request(Method::GET, &[("x-user", "bob")]), &by_header));
    }
}
