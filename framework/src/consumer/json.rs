//! Consumers whose input is a serde type.

use serde::{Serialize, de::DeserializeOwned};

use super::{Consumer, Context, EventHandlers};
use crate::{GroupName, Message, Result, close::Disconnect, error::InputError, layers::DEFAULT_LAYER};

/// A consumer that takes JSON text messages as values of one type.
///
/// Implement it instead of [`Consumer`]. A message that is not an `Input` goes to [`invalid`](Self::invalid), which
/// answers with an error and keeps the connection. In Channels such a message ends the connection.
#[expect(async_fn_in_trait, reason = "hooks run on one thread and need not be Send")]
pub trait JsonConsumer: EventHandlers {
    /// What a client may send.
    type Input: DeserializeOwned;

    /// As [`Consumer::LAYER`].
    const LAYER: &'static str = DEFAULT_LAYER;

    /// As [`Consumer::STRICT`].
    const STRICT: bool = false;

    /// As [`Consumer::groups`].
    fn groups(&self) -> Vec<GroupName> {
        Vec::new()
    }

    /// As [`Consumer::connect`].
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()
    }

    /// Runs for each message of the client that is an `Input`.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    async fn receive_json(&mut self, input: Self::Input, ctx: &mut Context) -> Result<()>;

    /// Runs for a message that is not an `Input`. The default answers `{"type":"error","reason":…}`.
    ///
    /// # Errors
    /// As [`Consumer::receive`]. Return `error` to end the connection with 1007.
    async fn invalid(&mut self, error: InputError, ctx: &mut Context) -> Result<()> {
        #[derive(Serialize)]
        struct InvalidReply {
            r#type: &'static str,
            reason: String,
        }
        let reason = crate::Error::from(error).to_string();
        ctx.send_json(&InvalidReply { r#type: "error", reason })
    }

    /// As [`Consumer::disconnect`].
    async fn disconnect(&mut self, reason: Disconnect, ctx: &mut Context) {
        let _ = (reason, ctx);
    }
}

impl<C: JsonConsumer> Consumer for C {
    const LAYER: &'static str = <C as JsonConsumer>::LAYER;
    const STRICT: bool = <C as JsonConsumer>::STRICT;

    fn groups(&self) -> Vec<GroupName> {
        JsonConsumer::groups(self)
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        JsonConsumer::connect(self, ctx).await
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        match message.json() {
            Ok(input) => self.receive_json(input, ctx).await,
            Err(error) => self.invalid(error, ctx).await,
        }
    }

    async fn disconnect(&mut self, reason: Disconnect, ctx: &mut Context) {
        JsonConsumer::disconnect(self, reason, ctx).await;
    }
}
