//! What a test expects of a WebSocket's messages: an event, or the first that fits.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::timeout_at;

use super::{CommunicatorError, WebsocketCommunicator};
use crate::{Envelope, Event, Message, time::from_now};

/// How many of the messages that did not fit an error shows.
const SHOWN: usize = 16;

impl WebsocketCommunicator {
    /// Waits for a text message, and reads it as an event: `{"type":"chat.message",…}`.
    ///
    /// ```
    /// use greenroom::{prelude::*, testing::WebsocketCommunicator};
    ///
    /// #[derive(Clone, Serialize, Deserialize, Event)]
    /// struct Welcome {
    ///     name: String,
    /// }
    ///
    /// #[derive(NoEvents)]
    /// struct Door;
    ///
    /// impl Consumer for Door {
    ///     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
    ///         ctx.send_event(&Welcome { name: message.text()?.to_owned() })
    ///     }
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<()> {
    /// let mut client = WebsocketCommunicator::of(|_: &Scope| Ok(Door));
    /// client.connect().await.expect("accepted");
    /// client.send_text("ann");
    /// assert_eq!(client.receive_event::<Welcome>().await?.name, "ann");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`receive_text`](Self::receive_text), and [`CommunicatorError::WrongEvent`] if the message is not an `E`: it has another
    /// `type`, no `type`, or other fields.
    pub async fn receive_event<E: Event>(&mut self) -> Result<E, CommunicatorError> {
        let text = self.receive_text().await?;
        let event = Envelope::from_json(&text).map_err(|error| error.to_string()).and_then(|envelope| {
            if !E::NAMES.contains(&envelope.name()) {
                return Err(format!("its type is {:?}", envelope.name()));
            }
            envelope.event::<E>().map_err(|error| error.to_string())
        });
        event.map(Arc::unwrap_or_clone).map_err(|reason| CommunicatorError::WrongEvent {
            expected: E::NAMES,
            text,
            reason,
        })
    }

    /// Waits for the first message that fits, and skips the messages before it.
    ///
    /// All of it takes no longer than the [`timeout`](Self::timeout).
    ///
    /// ```
    /// # use greenroom::{prelude::*, testing::WebsocketCommunicator};
    /// # #[derive(NoEvents)]
    /// # struct Clock;
    /// # impl Consumer for Clock {
    /// #     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
    /// #         ctx.send_text("tick")?;
    /// #         ctx.send_text("noon")
    /// #     }
    /// # }
    /// # #[actix_web::main]
    /// # async fn main() -> Result<()> {
    /// # let mut client = WebsocketCommunicator::of(|_: &Scope| Ok(Clock));
    /// # client.connect().await.expect("accepted");
    /// client.send_text("start");
    /// client.receive_until(|message| message.as_text() == Some("noon")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`receive`](Self::receive) if no message came, and else [`CommunicatorError::Unmatched`], which shows those that
    /// came.
    pub async fn receive_until(
        &mut self,
        mut fits: impl FnMut(&Message) -> bool,
    ) -> Result<Message, CommunicatorError> {
        let deadline = from_now(self.timeout);
        let (mut came, mut count) = (VecDeque::new(), 0);
        loop {
            let end = match timeout_at(deadline, self.receive()).await {
                Ok(Ok(message)) if fits(&message) => return Ok(message),
                Ok(Ok(message)) => {
                    count += 1;
                    came.truncate(SHOWN - 1);
                    came.push_front(message);
                    continue;
                }
                Ok(Err(end)) => end,
                Err(_) => CommunicatorError::Timeout(self.timeout),
            };
            if count == 0 {
                return Err(end);
            }
            let came = came.into_iter().rev().collect();
            return Err(CommunicatorError::Unmatched { came, count, end: Box::new(end) });
        }
    }
}
