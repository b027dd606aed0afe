//! Consumers whose input is a serde type.

use serde::{Serialize, de::DeserializeOwned};

use super::{Answer, Consumer, Context, EventHandlers, Request, Resumed};
use crate::{GroupName, Message, Result, close::Disconnect, error::InputError, layers::DEFAULT_LAYER};

/// A consumer that takes JSON text messages as values of one type.
///
/// Implement it instead of [`Consumer`]. A message that is not an `Input` goes to [`invalid`](Self::invalid), which
/// answers with an error and keeps the connection. In Channels such a message ends the connection.
///
/// ```
/// use greenroom::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Summands { a: i64, b: i64 }
///
/// #[derive(NoEvents)]
/// struct Sum;
///
/// impl JsonConsumer for Sum {
///     type Input = Summands;
///
///     async fn receive_json(&mut self, input: Summands, ctx: &mut Context) -> Result<()> {
///         ctx.send_text((input.a + input.b).to_string())
///     }
/// }
/// ```
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

    /// Runs for each request of the client whose input is an `Input`. Returns the answer.
    ///
    /// A request is a message whose sender waits for an answer, for example by `await socket.request(…)` in
    /// `greenroom.js`. It runs in sequence with the other hooks; [`Answer::later`] lets the hook end before the answer.
    ///
    /// The default is an acknowledgement: it runs [`receive_json`](Self::receive_json), and answers `null`.
    ///
    /// ```
    /// use greenroom::{Answer, RequestError, prelude::*};
    ///
    /// #[derive(Deserialize)]
    /// #[serde(rename_all = "snake_case")]
    /// enum Ask {
    ///     Members { room: String },
    /// }
    ///
    /// # #[derive(NoEvents)]
    /// struct Lobby;
    ///
    /// impl JsonConsumer for Lobby {
    ///     type Input = Ask;
    /// #   async fn receive_json(&mut self, _: Ask, _: &mut Context) -> Result<()> { Ok(()) }
    ///
    ///     async fn request(&mut self, ask: Ask, _ctx: &mut Context) -> Result<Answer> {
    ///         match ask {
    ///             Ask::Members { room } if room == "lobby" => Answer::json(&["Ann", "Bo"]),
    ///             Ask::Members { .. } => Err(RequestError::new("not_found", "no such room"))?,
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The connection goes on after an error. A [`RequestError`](crate::RequestError) is answered with its code and its
    /// text. Any other error is logged, and answered with the code `internal` and a fixed text. The exceptions are
    /// [`StopConsumer`](crate::error::StopConsumer), which ends the connection with 1000, and a panic, which ends it
    /// with 1011. An input that does not fit is answered with the code `invalid` and the reason, and this hook does not
    /// run.
    async fn request(&mut self, input: Self::Input, ctx: &mut Context) -> Result<Answer> {
        self.receive_json(input, ctx).await?;
        Answer::json(&())
    }

    /// Runs for a message that is not an `Input`, and for a request that has no valid id. The default answers `{"type":"error","reason":…}`.
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

    /// As [`Consumer::resume`].
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    async fn resume(&mut self, resumed: &Resumed, ctx: &mut Context) -> Result<()> {
        let _ = (resumed, ctx);
        Ok(())
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
        match Request::read(&message) {
            Ok(None) => match message.json() {
                Ok(input) => self.receive_json(input, ctx).await,
                Err(error) => self.invalid(error, ctx).await,
            },
            Ok(Some(request)) => {
                let answer = match request.input() {
                    Ok(input) => self.request(input, ctx).await,
                    Err(error) => Err(error.into()),
                };
                request.answer(answer, ctx)
            }
            Err(error) => self.invalid(error, ctx).await,
        }
    }

    async fn resume(&mut self, resumed: &Resumed, ctx: &mut Context) -> Result<()> {
        JsonConsumer::resume(self, resumed, ctx).await
    }

    async fn disconnect(&mut self, reason: Disconnect, ctx: &mut Context) {
        JsonConsumer::disconnect(self, reason, ctx).await;
    }
}
