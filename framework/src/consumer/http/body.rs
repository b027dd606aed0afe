use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{error::InputError, json};

/// The whole body of a request. It is empty if the request has no body.
///
/// The [guide](crate::docs::guide#http-consumers) has an example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The body as text.
    ///
    /// # Errors
    /// [`InputError::NotUtf8`] if it is not UTF-8. If `handle` returns this error, the client is answered 400.
    pub fn text(&self) -> Result<&str, InputError> {
        std::str::from_utf8(&self.0).map_err(InputError::NotUtf8)
    }

    /// Reads the body as JSON, whatever content type the request names.
    ///
    /// # Errors
    /// [`InputError::Json`] if it is not a `T`. If `handle` returns this error, the client is answered 400.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        json::read(self.text()?).map_err(InputError::json)
    }

    /// The bytes, without the body around them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}
