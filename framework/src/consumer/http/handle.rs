use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::exchange::Exchange;
use crate::{IntoEnvelope, Result, error::Closed};

/// A sender for one exchange, for tasks of the same thread.
///
/// It is cheap to clone, and does not keep the exchange alive.
///
/// The [guide](crate::docs::guide#http-consumers) has an example.
// The compiler shows the next line, with its comment, if a handle is sent to another thread.
#[derive(Debug, Clone)]
pub struct HttpHandle(Weak<Exchange>); // is for one thread: from others use Layer::send with the channel_name

impl HttpHandle {
    pub(super) fn new(exchange: &Rc<Exchange>) -> Self {
        Self(Rc::downgrade(exchange))
    }

    /// Sends a part of the body, as [`HttpContext::send_body`](super::HttpContext::send_body) does.
    ///
    /// # Errors
    /// Those of `HttpContext::send_body`.
    pub async fn send_body(&self, bytes: impl Into<Bytes>) -> Result<()> {
        let exchange = self.0.upgrade().ok_or(Closed)?;
        exchange.send(bytes.into()).await
    }

    /// Ends the response, as [`HttpContext::finish`](super::HttpContext::finish) does.
    ///
    /// # Errors
    /// Those of `HttpContext::finish`, and [`Closed`] if the exchange is gone.
    pub fn finish(&self) -> Result<()> {
        Ok(self.0.upgrade().ok_or(Closed)?.finish()?)
    }

    /// Hands an event to the consumer, in sequence with all other events.
    ///
    /// Returns false if the consumer's inbox is full or the exchange has ended.
    pub fn notify(&self, event: impl IntoEnvelope) -> bool {
        self.0.upgrade().is_some_and(|exchange| exchange.connection().push_event(event.into()))
    }

    /// Whether the exchange has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.upgrade().is_none_or(|exchange| exchange.connection().has_ended())
    }
}
