use std::{error::Error as StdError, fmt, time::Duration};

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use serde::Serialize;

use crate::{
    Error, Result, Scope,
    causes::WithCauses,
    error::{AcceptConnection, DenyConnection, InputError, MisuseError},
    scope::{ScopeError, answer_header, answer_status},
    shown::Shown,
};

/// The answer to a client that is not let in.
///
/// It has a status from 400 to 599, headers, and a body of plain text or [JSON](Self::json).
///
/// ```
/// use actix_web::http::{StatusCode, header};
/// use greenroom::middleware::Rejection;
///
/// let full = Rejection::json(StatusCode::CONFLICT, &serde_json::json!({"error": "the room is full"}))?
///     .header(header::RETRY_AFTER, 30)?;
/// assert_eq!((full.status(), full.body()), (409, r#"{"error":"the room is full"}"#));
/// # Ok::<(), greenroom::Error>(())
/// ```
///
/// `?` turns every [`std::error::Error`] into a rejection with the status 500. The error is logged, and its text is
/// not sent to the client. [`DenyConnection`] becomes 403, as in a hook.
///
/// ```
/// use greenroom::{Scope, UrlRouter, middleware::{Rejection, from_fn}};
///
/// let router = UrlRouter::new().wrap(from_fn(async |scope: &mut Scope| {
///     match scope.query_param("key").as_deref() {
///         Some("secret") => Ok(()),
///         _ => Err(Rejection::forbidden()),
///     }
/// }));
/// ```
///
/// In the other direction, `?` turns a rejection into an error. If `connect`, the function of a route, or an HTTP
/// consumer returns that error, the client gets the rejection. In a test, `client.connect().await?` ends with its text.
///
/// ```
/// use greenroom::{middleware::Rejection, prelude::*};
///
/// #[derive(NoEvents)]
/// struct Full;
///
/// impl Consumer for Full {
///     async fn connect(&mut self, _ctx: &mut Context) -> Result<()> {
///         Err(Rejection::new(409, "the room is full")?)?
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Rejection {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
    /// Whether the server closes the connection after this answer.
    closes: bool,
    /// The error that it was made of, until the log has it: who answers the client knows the path.
    failure: Option<Box<str>>,
}

impl Rejection {
    /// An answer with this status and a body of plain text.
    ///
    /// The status is a number or a [`StatusCode`]. A header `content-type` says that the text is something else.
    ///
    /// # Errors
    /// [`MisuseError::BadStatus`] if the status is not from 400 to 599.
    pub fn new(status: impl TryInto<StatusCode>, body: impl Into<String>) -> Result<Self, MisuseError> {
        let status = answer_status(status, 400..=599).map_err(MisuseError::BadStatus)?;
        Ok(Self { status, headers: Vec::new(), body: body.into(), closes: false, failure: None })
    }

    /// An answer with this status, and with `value` as JSON in the body.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if `value` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(status: impl TryInto<StatusCode>, value: &T) -> Result<Self> {
        let rejection = Self::new(status, serde_json::to_string(value)?)?;
        Ok(rejection.header(header::CONTENT_TYPE, "application/json")?)
    }

    /// 403: the client is denied. Channels answers the same.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::fixed(StatusCode::FORBIDDEN, "forbidden")
    }

    /// 401: the client has not logged in.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::fixed(StatusCode::UNAUTHORIZED, "unauthorized")
    }

    /// Adds a header. The same name may be added several times, except that an answer has one `content-type`.
    ///
    /// A second `content-type` replaces the first.
    ///
    /// # Errors
    /// [`MisuseError::BadHeader`] if the name or the value is invalid, or if the name belongs to the handshake or to the
    /// framing of the answer, as with [`Scope::add_response_header`].
    pub fn header(
        mut self,
        name: impl TryInto<HeaderName> + AsRef<str>,
        value: impl TryInto<HeaderValue>,
    ) -> Result<Self, MisuseError> {
        let header = answer_header(name, value)?;
        if header.0 == header::CONTENT_TYPE {
            self.headers.retain(|(name, _)| *name != header::CONTENT_TYPE);
        }
        self.headers.push(header);
        Ok(self)
    }

    /// The headers that were added, with names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The text of the body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The rejection that an error was made of.
    pub(crate) fn inside(error: &Error) -> Option<Self> {
        error.downcast_ref().map(|Rejected(rejection)| rejection.clone())
    }

    /// The answer to an error for which the client's path, query string or credentials are at fault.
    pub(crate) fn of_client(error: &Error) -> Option<Self> {
        match error.downcast_ref::<ScopeError>()? {
            ScopeError::BadParam { .. } => Some(Self::fixed(StatusCode::NOT_FOUND, "not found")),
            ScopeError::BadQuery { .. } => {
                Some(Self::fixed(StatusCode::BAD_REQUEST, "the query string cannot be read"))
            }
            ScopeError::Refused(refusal) if refusal.status.is_client_error() => Some(Self {
                status: refusal.status,
                headers: refusal.headers.clone(),
                body: refusal.body.clone(),
                closes: false,
                failure: None,
            }),
            ScopeError::Answered { .. }
            | ScopeError::NoData { .. }
            | ScopeError::NoParam { .. }
            | ScopeError::NoReqData { .. }
            | ScopeError::Refused(_) => None,
        }
    }

    /// 500: the log says what went wrong.
    pub(crate) fn internal() -> Self {
        Self::fixed(StatusCode::INTERNAL_SERVER_ERROR, "internal server error")
    }

    /// 400: the body cannot be read.
    pub(crate) fn bad_request() -> Self {
        Self::fixed(StatusCode::BAD_REQUEST, "the body cannot be read")
    }

    /// 400: the body does not have the form that the consumer expects.
    pub(crate) fn bad_input(error: &InputError) -> Self {
        Self::fixed(StatusCode::BAD_REQUEST, &Shown(WithCauses(error)).to_string())
    }

    /// 408: the body comes too slowly.
    pub(crate) fn timed_out() -> Self {
        Self::fixed(StatusCode::REQUEST_TIMEOUT, "the body took too long")
    }

    /// 413: the body is over the limit.
    pub(crate) fn too_large() -> Self {
        Self::fixed(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
    }

    /// 503: the server shuts down, or is too busy.
    pub(crate) fn unavailable(body: &str) -> Self {
        Self::fixed(StatusCode::SERVICE_UNAVAILABLE, body)
    }

    /// 503 with a `Retry-After`: the server shuts down, and closes this connection.
    pub(crate) fn shutting_down(retry: Duration) -> Self {
        let mut rejection = Self::busy("the server is shutting down", retry);
        rejection.closes = true;
        rejection
    }

    /// 503 with a `Retry-After`.
    pub(crate) fn busy(body: &str, retry: Duration) -> Self {
        let mut rejection = Self::unavailable(body);
        // The header is in whole seconds (RFC 9110, section 10.2.3).
        let seconds = retry.as_millis().div_ceil(1000) as u64;
        rejection.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        rejection
    }

    /// 429 with a `Retry-After`: the client's address has reached its limit of connections.
    pub(crate) fn too_many_connections(retry: Duration) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self { status, ..Self::busy("too many connections from your address", retry) }
    }

    /// Adds the response headers that middleware put into the scope.
    #[must_use]
    pub(crate) fn with_headers_of(mut self, scope: &Scope) -> Self {
        self.headers.append(&mut scope.take_response_headers());
        self
    }

    /// Logs the error that it was made of, if the log does not have it yet.
    pub(crate) fn log_failure(&mut self, scope: &Scope, consumer: Option<&'static str>) {
        if let Some(error) = self.failure.take() {
            let path = Shown(scope.path());
            let what =
                if consumer.is_some() { "a middleware failed" } else { "a hook rejects with an error" };
            tracing::error!(?path, consumer, error = %Shown(error), "{what}: answered {}", self.status());
        }
    }

    fn fixed(status: StatusCode, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned(), closes: false, failure: None }
    }
}

impl From<Rejection> for HttpResponse {
    fn from(rejection: Rejection) -> Self {
        if let Some(error) = rejection.failure {
            tracing::error!(error = %Shown(error), "a request failed: answered 500");
        }
        let mut response = Self::build(rejection.status);
        if rejection.closes {
            response.force_close();
        }
        // The rejection's own one stands before those of the scope.
        let mut has_type = false;
        for header in rejection.headers {
            if header.0 != header::CONTENT_TYPE || !std::mem::replace(&mut has_type, true) {
                response.append_header(header);
            }
        }
        if !has_type {
            response.content_type("text/plain; charset=utf-8");
        }
        response.body(rejection.body)
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        if error.is::<DenyConnection>() {
            return Self::forbidden();
        }
        if let Some(rejection) = Self::inside(&error) {
            return rejection;
        }
        if let Some(rejection) = Self::of_client(&error) {
            let status = rejection.status();
            tracing::debug!(error = %Shown(&error), status, "a middleware cannot read what the client sent");
            return rejection;
        }
        let text = if error.is::<AcceptConnection>() {
            "a middleware returned AcceptConnection: return Ok(()), and let the consumer accept".to_owned()
        } else {
            Shown(&error).to_string()
        };
        Self { failure: Some(text.into()), ..Self::internal() }
    }
}

/// A rejection that `?` has turned into an error. It cannot be an error itself, because `?` turns every error into one.
#[derive(Debug)]
struct Rejected(Rejection);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client is answered {}: {}", self.0.status, Shown(&self.0.body))
    }
}

impl StdError for Rejected {}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::from(Rejected(rejection))
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Rejection {
    fn from(error: E) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn an_answer_has_its_status_headers_and_body() {
        let scope = Scope::builder("/").build();
        scope.add_response_header("x-b", "2").unwrap();
        let rejection = Rejection::new(402, "pay first").unwrap().header("X-A", "1").unwrap();
        assert_eq!((rejection.status(), rejection.body()), (402, "pay first"));
        let response = HttpResponse::from(rejection.with_headers_of(&scope));
        assert_eq!(response.status(), 402);
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!((header("x-a"), header("x-b")), (Some("1"), Some("2")));
        let body = to_bytes(response.into_body()).now_or_never().unwrap().unwrap();
        assert_eq!(body, "pay first");
    }

    #[test]
    fn only_errors_reject() {
        for status in [101, 200, 399, 600] {
            assert_eq!(Rejection::new(status, "").unwrap_err(), MisuseError::BadStatus(Some(status)));
        }
        for status in [0, 99, 1000] {
            assert_eq!(Rejection::new(status, "").unwrap_err(), MisuseError::BadStatus(None));
        }
        assert_eq!(Rejection::new(StatusCode::IM_A_TEAPOT, "").unwrap().status(), 418);
        assert!(Rejection::forbidden().header("content-length", "3").is_err());
        assert!(Rejection::forbidden().header("a b", "").is_err());
        assert!(Rejection::forbidden().header("a", "\r\n").is_err());
    }

    #[test]
    fn an_answer_has_one_content_type() {
        let types = |rejection: Rejection| -> Vec<String> {
            let response = HttpResponse::from(rejection);
            let all = response.headers().get_all(header::CONTENT_TYPE);
            all.map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(types(Rejection::forbidden()), ["text/plain; charset=utf-8"]);
        let json = Rejection::json(403, &["a"]).unwrap();
        assert_eq!(json.headers().collect::<Vec<_>>(), [("content-type", &b"application/json"[..])]);
        assert_eq!(types(json.clone()), ["application/json"]);
        assert_eq!(types(json.clone().header("Content-Type", "text/html").unwrap()), ["text/html"]);
        let scope = Scope::builder("/").build();
        scope.add_response_header("content-type", "text/css").unwrap();
        scope.add_response_header("x-a", "1").unwrap();
        assert_eq!(types(json.with_headers_of(&scope)), ["application/json"]);
        scope.add_response_header("content-type", "text/css").unwrap();
        assert_eq!(types(Rejection::forbidden().with_headers_of(&scope)), ["text/css"]);
    }

    #[test]
    fn errors_are_answered_500_without_their_text() {
        let failed = || -> Result<(), Rejection> {
            "secret".parse::<u8>()?;
            Ok(())
        };
        let rejection = failed().unwrap_err();
        assert_eq!((rejection.status(), rejection.body()), (500, "internal server error"));
        assert_eq!(Rejection::from(DenyConnection).status(), 403);
        assert_eq!(Rejection::from(Error::msg("secret")).status(), 500);
        let error = Error::from(Rejection::new(409, "full").unwrap());
        assert_eq!(error.to_string(), "the client is answered 409 Conflict: full");
        assert_eq!(Rejection::from(error).body(), "full");
    }
}
