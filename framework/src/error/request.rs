//! The error with which a request is answered.

use std::{error::Error as StdError, fmt};

use serde::Serialize;

/// Answers a request with a code for programs and a text for people.
///
/// It does so if [`JsonConsumer::request`](crate::JsonConsumer::request), or the future of
/// [`Answer::later`](crate::Answer::later), returns it. In other hooks it is an error like any other. The client gets
/// both texts as they are. Every other error is answered with a fixed text.
///
/// ```
/// use greenroom::{RequestError, Result};
///
/// fn price(symbol: &str) -> Result<u32> {
///     let known = [("BTC", 90_000)];
///     let found = known.iter().find(|(name, _)| *name == symbol);
///     let (_, price) = found.ok_or_else(|| RequestError::new("not_found", "no such symbol"))?;
///     Ok(*price)
/// }
/// # assert!(price("BTC").is_ok() && price("x").unwrap_err().is::<RequestError>());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestError {
    code: String,
    text: String,
}

impl RequestError {
    /// The code that the server itself answers with if another request must end first.
    pub const BUSY: &str = "busy";
    /// The code that the server itself answers with if the hook failed. The log has the error.
    pub const INTERNAL: &str = "internal";
    /// The code that the server itself answers with if the input does not fit the consumer's type.
    pub const INVALID: &str = "invalid";

    /// An error with a code, such as `not_found`, and a text.
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }

    /// The code, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The text, for people.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl StdError for RequestError {}
