use std::{error::Error as StdError, fmt};

/// Why a [`Scope`](crate::Scope) cannot give what a consumer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeError {
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
    /// The route has no parameter of this name.
    NoParam {
        /// The name that was asked for.
        name: String,
        /// The names that the route has.
        known: Vec<String>,
    },
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadParam { name, text, reason } => {
                write!(f, "the path's parameter {name:?} is {text:?}: {reason}")
            }
            Self::BadQuery { reason } => write!(f, "the query string cannot be read: {reason}"),
            Self::NoParam { name, known } if known.is_empty() => {
                write!(f, "the route has no parameter {name:?}: write {{{name}}} into its pattern")
            }
            Self::NoParam { name, known } => {
                write!(f, "the route has no parameter {name:?}, only {}", known.join(", "))
            }
        }
    }
}

impl StdError for ScopeError {}
