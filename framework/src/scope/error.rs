use std::{error::Error as StdError, fmt};

use actix_web::http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};

/// Why a [`Scope`](crate::Scope) cannot give what a consumer asks for.
///
/// The [guide](crate::docs::guide#from-the-app-to-the-consumer) has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeError {
    /// What the App knows of the request is there until the connection is answered, and not later.
    Answered {
        /// The Rust type that was asked for.
        wanted: &'static str,
    },
    /// A parameter of the path is not of the type that the consumer asks for.
    BadParam {
        /// The parameter's name.
        name: String,
        /// Its text in the path, percent-decoded.
        text: String,
        /// What is wrong with the text, as the type says.
        reason: String,
    },
    /// The query string is not of the type that the consumer asks for.
    BadQuery {
        /// What is wrong with it.
        reason: String,
    },
    /// The App has no such data.
    NoData {
        /// The Rust type that was asked for.
        wanted: &'static str,
    },
    /// The route has no parameter of this name.
    NoParam {
        /// The name that was asked for.
        name: String,
        /// The names that the route has.
        known: Vec<String>,
        /// The route's pattern. `None` after the answer.
        pattern: Option<String>,
    },
    /// No middleware of the App has put such a value into the extensions of the request.
    NoReqData {
        /// The Rust type that was asked for.
        wanted: &'static str,
    },
    /// An extractor of actix-web refused the request.
    Refused(Refusal),
}

/// The answer of an extractor that refused a request.
///
/// [`Scope::extract`](crate::Scope::extract) has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The extractor's type.
    pub wanted: &'static str,
    /// What the extractor says.
    pub reason: String,
    /// The status that a handler of actix-web would have answered.
    pub status: StatusCode,
    /// The headers of that answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of that answer.
    pub body: String,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { wanted } => write!(
                f,
                "{wanted} cannot be taken from the App after the answer: take it in the route's function, in a \
                 middleware or in connect, and keep it in the consumer"
            ),
            Self::BadParam { name, text, reason } => {
                write!(f, "the path's parameter {name:?} is {text:?}: {reason}")
            }
            Self::BadQuery { reason } => write!(f, "the query string cannot be read: {reason}"),
            Self::NoData { wanted } => {
                write!(f, "the App has no web::Data<{wanted}>: give it one by app_data(web::Data::new(…))")
            }
            Self::NoParam { name, known, pattern } => {
                match pattern {
                    Some(pattern) => write!(f, "the route {pattern:?} has no parameter {name:?}")?,
                    None => write!(f, "the route has no parameter {name:?}")?,
                }
                if known.is_empty() {
                    write!(f, ": write {{{name}}} into its pattern")
                } else {
                    write!(f, ", only {}", known.join(", "))
                }
            }
            Self::NoReqData { wanted } => {
                write!(f, "no middleware of the App has put a {wanted} into the request's extensions")
            }
            Self::Refused(Refusal { wanted, reason, status, .. }) => {
                write!(f, "the extractor {wanted} refused the request with {}: {reason}", status.as_u16())
            }
        }
    }
}

crate::causes::debug_shows_causes!(ScopeError);

impl StdError for ScopeError {}
