//! The answer to a handshake or to an HTTP request.

use actix_web::http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};

use crate::middleware::Rejection;

/// The answer to a handshake, or to an HTTP request.
#[derive(Debug)]
pub(crate) enum RequestAnswer {
    Accept(Accepted),
    Reject(Rejection),
    /// The headers of an HTTP response.
    Respond(Head),
}

/// How a handshake is accepted.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The length of the body, if it is known.
    pub(crate) length: Option<u64>,
}
