//! The [`HttpConsumer`] trait says what a program does with one HTTP exchange.

mod body;
mod context;
mod event_id;
mod exchange;
mod handle;
mod life;

pub(crate) use self::exchange::Exchange;
pub(super) use self::life::live;
pub use self::{body::Body, context::HttpContext, handle::HttpHandle};

use super::EventHandlers;
use crate::{GroupName, Result, close::Disconnect, layers::DEFAULT_LAYER};

/// What a program does with one HTTP exchange, as Channels' `AsyncHttpConsumer`.
///
/// It is like a [`Consumer`](crate::Consumer), but its client sends one body and gets one response. It has the same
/// groups, layers, timers and event handlers, and runs one hook at a time. To stream for longer than one hook, call
/// [`keep_open`](HttpContext::keep_open): then the event handlers send the rest. While `handle` itself runs, no event
/// is handled, as in any consumer. In Channels an HTTP consumer never handles events.
///
/// A feed of a room's messages, as server-sent events:
///
/// ```
/// use greenroom::{Body, HttpConsumer, HttpContext, prelude::*};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct ChatMessage {
///     text: String,
/// }
///
/// struct Feed {
///     room: GroupName,
/// }
///
/// impl HttpConsumer for Feed {
///     async fn handle(&mut self, _body: Body, ctx: &mut HttpContext) -> Result<()> {
///         ctx.group_add(&self.room).await?;
///         ctx.send_headers(200, &[("content-type", "text/event-stream"), ("cache-control", "no-store")])?;
///         ctx.keep_open();
///         Ok(())
///     }
/// }
///
/// #[event_handlers]
/// impl Feed {
///     async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut HttpContext) -> Result<()> {
///         ctx.send_body(format!("data: {}\n\n", event.text)).await
///     }
/// }
///
/// let routes = UrlRouter::new().http("/rooms/{room}/feed", |scope: &Scope| Ok(Feed { room: scope.param("room")? }));
/// # routes.build().unwrap();
/// ```
///
/// # How it ends
/// | What happens | The client gets | [`disconnect`](Self::disconnect) gets |
/// |---|---|---|
/// | `handle` returns without [`keep_open`](HttpContext::keep_open), or [`finish`](HttpContext::finish) is called | the end of the body | 1000, [`Cause::Consumer`](crate::close::Cause::Consumer) |
/// | the client leaves | | 1006, [`Cause::Gone`](crate::close::Cause::Gone): the running hook is cancelled, as in actix-web. Under [`Server`](crate::Server) at once, [in an `HttpServer`](#in-your-own-app) later |
/// | a hook fails or panics | 500 (400 for an [`InputError`](crate::error::InputError), 404 for [a path that does not fit](crate::docs::guide#paths-that-do-not-fit)), or a cut connection if headers were sent | 1006 [`Cause::Rejected`](crate::close::Cause::Rejected), or 1011 [`Cause::Error`](crate::close::Cause::Error) |
/// | `handle` returns without a response and without [`keep_open`](HttpContext::keep_open) | 500; the log says so | 1006 `Rejected` |
/// | no headers within [`Limits::response_timeout`](crate::Limits::response_timeout) | 503; the hook is cancelled | 1006 `Rejected` |
/// | the client was told an [`event_id`](HttpContext::event_id), and the consumer is so slow that its group no longer keeps what comes next | a cut connection | 1013 [`Cause::TooSlow`](crate::close::Cause::TooSlow) |
/// | the client reads too slowly for relayed events, or reads nothing for [`Limits::write_timeout`](crate::Limits::write_timeout) | a cut connection | 1013 [`Cause::TooSlow`](crate::close::Cause::TooSlow) |
/// | the server shuts down | 503 with `Retry-After`, or a cut connection if headers were sent | 1006 `Rejected`, or 1012 [`Cause::Shutdown`](crate::close::Cause::Shutdown) |
///
/// In HTTP/1.1 a cut connection says that a body is not complete: a browser's `fetch` fails, and an `EventSource`
/// connects again.
///
/// # Limits
/// A body over [`Limits::message_size`](crate::Limits::message_size) is answered 413. A body that comes too slowly
/// for [`Limits::frame_timeout`](crate::Limits::frame_timeout) is answered 408. Neither reaches the consumer. Responses
/// count against the same `outbox_size`, budget and number of connections as WebSockets.
///
/// # An `EventSource` that comes back
/// In a group with [history](crate::history) a browser's `EventSource` misses nothing while its connection is cut: see
/// [`HttpContext::event_id`] and [`HttpContext::last_event_id`].
///
/// # In your own App
/// [`Server`](crate::Server) sees at once that a client has ended its sending side, and takes this for its leave. An
/// `HttpServer` of actix-web tells nobody, because some clients still read. There a consumer that has nothing to send
/// does not notice that its client has left. So send something from time to time, for example a comment in a stream of
/// events: the second part that cannot be delivered ends the exchange.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP consumer",
    note = "write `impl HttpConsumer for {Self} {{ async fn handle(…) {{ … }} }}`"
)]
#[expect(async_fn_in_trait, reason = "hooks run on one thread and need not be Send")]
pub trait HttpConsumer: EventHandlers<HttpContext> {
    /// As [`Consumer::LAYER`](crate::Consumer::LAYER).
    const LAYER: &'static str = DEFAULT_LAYER;

    /// As [`Consumer::STRICT`](crate::Consumer::STRICT).
    const STRICT: bool = false;

    /// The groups that this consumer joins before `handle`. Default none.
    fn groups(&self) -> Vec<GroupName> {
        Vec::new()
    }

    /// Runs once, with the whole body of the request. The method is [`Scope::method`](crate::Scope::method).
    ///
    /// When it returns, the response ends, unless it has called [`keep_open`](HttpContext::keep_open).
    ///
    /// # Errors
    /// Before the headers, an error is answered 500 and logged. An [`InputError`](crate::error::InputError) is answered
    /// 400, a [`DenyConnection`](crate::error::DenyConnection) or [`StopConsumer`](crate::error::StopConsumer) 403. After
    /// the headers, the connection is cut and the error logged; a `StopConsumer` ends the response. Errors of event
    /// handlers do the same.
    async fn handle(&mut self, body: Body, ctx: &mut HttpContext) -> Result<()>;

    /// Runs exactly once, however the exchange ended. The default does nothing.
    ///
    /// By then nothing can be sent to the client any more, and the consumer has left its groups. The hook is cancelled
    /// after [`Limits::disconnect_grace`](crate::Limits::disconnect_grace).
    async fn disconnect(&mut self, reason: Disconnect, ctx: &mut HttpContext) {
        let _ = (reason, ctx);
    }
}
