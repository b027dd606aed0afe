use std::{error::Error as StdError, time::Duration};

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};

use crate::{
    Error, Result, Scope,
    error::{AcceptConnection, DenyConnection, InputError, MisuseError},
    shown::Shown,
};

/// The answer to a client that is not let in.
///
/// It has a status from 400 to 599, headers and a body of plain text.
///
/// `?` turns every [`std::error::Error`] into a rejection with the status 500. The error is logged, and its text is
/// not sent to the client. [`DenyConnection`] becomes 403, as in a hook.
#[derive(Debug, Clone)]
pub struct Rejection {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
    /// Whether the server closes the connection after this answer.
    closes: bool,
}

impl Rejection {
    /// An answer with this status and a body of plain text.
    ///
    /// # Errors
    /// [`MisuseError::BadStatus`] if the status is not from 400 to 599.
    pub fn new(status: u16, body: impl Into<String>) -> Result<Self, MisuseError> {
        let known = StatusCode::from_u16(status).ok().filter(|_| (400..=599).contains(&status));
        let status = known.ok_or(MisuseError::BadStatus(status))?;
        Ok(Self { status, headers: Vec::new(), body: body.into(), closes: false })
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

    /// Adds a header. The same name may be added several times.
    ///
    /// # Errors
    /// [`MisuseError::BadHeader`] if the name or the value is invalid.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, MisuseError> {
        let bad = |_| MisuseError::BadHeader(name.to_owned());
        let header = HeaderName::try_from(name).map_err(|_| bad(()))?;
        let value = HeaderValue::try_from(value).map_err(|_| bad(()))?;
        self.headers.push((header, value));
        Ok(self)
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
        Self::fixed(StatusCode::BAD_REQUEST, &error.to_string())
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

    fn fixed(status: StatusCode, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned(), closes: false }
    }
}

impl From<Rejection> for HttpResponse {
    fn from(rejection: Rejection) -> Self {
        let mut response = Self::build(rejection.status);
        response.content_type("text/plain; charset=utf-8");
        if rejection.closes {
            response.force_close();
        }
        for header in rejection.headers {
            response.append_header(header);
        }
        response.body(rejection.body)
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        if error.is::<DenyConnection>() {
            return Self::forbidden();
        }
        if error.is::<AcceptConnection>() {
            tracing::error!(
                "a middleware returned AcceptConnection: return Ok(()), and let the consumer accept"
            );
        } else {
            tracing::error!(error = %Shown(&error), "a middleware failed");
        }
        Self::internal()
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
        for status in [0, 101, 200, 399, 600, 1000] {
            assert_eq!(Rejection::new(status, "").unwrap_err(), MisuseError::BadStatus(status));
        }
        assert!(Rejection::forbidden().header("a b", "").is_err());
        assert!(Rejection::forbidden().header("a", "\r\n").is_err());
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
    }
}
