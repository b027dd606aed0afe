//! The answer to a request that cannot be served: a status, and the reason as JSON.

use std::{borrow::Cow, time::Duration};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};

/// An error response. Its body is `{"error":"unknown_connection","message":"…"}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    message: Cow<'static, str>,
    retry: Option<Duration>,
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, message: message.into(), retry: None, allow: None }
    }

    /// 400: the request does not follow the protocol.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 403: a page of another site may have forged the request.
    pub(crate) fn forged() -> Self {
        let message = "a POST needs the header Greenroom-Client, or an Origin";
        Self::new(StatusCode::FORBIDDEN, "csrf", message)
    }

    /// 403: another origin, another user or another path opened the connection.
    pub(crate) fn foreign() -> Self {
        let message = "the connection was opened from another origin, by another user or on another path";
        Self::new(StatusCode::FORBIDDEN, "foreign_connection", message)
    }

    /// 403: the route's validator lets in no pages of this origin.
    pub(crate) fn origin() -> Self {
        Self::new(StatusCode::FORBIDDEN, "origin", "pages of this origin may not connect here")
    }

    /// 404: the path has no consumer.
    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "no consumer is on this path")
    }

    /// 405: the path is right, and the method is wrong.
    pub(crate) fn method(allow: &'static str) -> Self {
        let mut refusal =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "another method is needed");
        refusal.allow = Some(allow);
        refusal
    }

    /// 408: the body did not arrive in time.
    pub(crate) fn slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")
    }

    /// 409: a newer request of the same kind took the place of this one.
    pub(crate) fn superseded() -> Self {
        Self::new(StatusCode::CONFLICT, "superseded", "a newer request took the place of this one")
    }

    /// 410: this process has no connection with this id, or has it no longer.
    pub(crate) fn unknown() -> Self {
        let message = "the connection does not exist, or it has ended: open a new one";
        Self::new(StatusCode::GONE, "unknown_connection", message)
    }

    /// 413: the body is too large, or a message in it.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("a message has at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 415: the body is not JSON.
    pub(crate) fn media_type() -> Self {
        let message = "the body must be application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// 421: another process opened the connection.
    pub(crate) fn other_server() -> Self {
        let message = "another server opened this connection: open a new one here";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "other_server", message)
    }

    /// 429: too many requests of this connection are under way at once.
    pub(crate) fn too_many() -> Self {
        let mut refusal =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "send one request at a time");
        refusal.retry = Some(Duration::from_secs(1));
        refusal
    }

    /// 503: the request cannot be served now.
    pub(crate) fn busy(message: &'static str, retry: Duration) -> Self {
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message);
        refusal.retry = Some(retry);
        refusal
    }
}

impl From<Refusal> for HttpResponse {
    fn from(refusal: Refusal) -> Self {
        let mut response = Self::build(refusal.status);
        if let Some(retry) = refusal.retry {
            response.insert_header((header::RETRY_AFTER, retry.as_secs().to_string()));
        }
        if let Some(allow) = refusal.allow {
            response.insert_header((header::ALLOW, allow));
        }
        response.json(serde_json::json!({ "error": refusal.error, "message": refusal.message }))
    }
}
