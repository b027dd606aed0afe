//! The [`Consumer`] trait says what a program does with one connection, [`HttpConsumer`] with one HTTP exchange.

mod actor;
pub(crate) mod connection;
mod connection_context;
mod context;
mod failure;
mod handle;
mod hook;
pub(crate) mod http;
mod json;
mod layer_context;
pub(crate) mod life;
mod request;
mod resumed;
mod room;
pub(crate) mod start;
pub(crate) mod task;
pub(crate) mod watch;

pub use self::{
    actor::{ConsumerActor, Deliver},
    connection_context::ConnectionContext,
    context::{Accept, Context},
    handle::{Handle, Task},
    http::{Body, HttpConsumer, HttpContext, HttpHandle},
    json::JsonConsumer,
    layer_context::LayerContext,
    request::{Answer, Request},
    resumed::Resumed,
};
use crate::{
    Envelope, GroupName, Message, Outgoing, Result, close::Disconnect, groups::fan_out::Relayed,
    layers::DEFAULT_LAYER,
};

/// What a program does with one connection: three hooks, which run one at a time.
///
/// Each hook gets the connection's [`Context`]. Every hook has a default, as in Channels: [`connect`](Self::connect)
/// accepts, [`receive`](Self::receive) and [`disconnect`](Self::disconnect) do nothing. Event handlers are written in
/// an `#[event_handlers]` block beside it. A consumer without events derives [`NoEvents`](derive@crate::NoEvents).
///
/// A connection stays on one thread. So the futures of hooks need not be `Send`, and a consumer may hold an `Rc`.
///
/// The [guide](crate::docs::guide#consumer) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a consumer",
    note = "write `impl Consumer for {Self} {{}}`; every hook has a default"
)]
#[expect(async_fn_in_trait, reason = "hooks run on one thread and need not be Send")]
pub trait Consumer: EventHandlers {
    /// The alias of this consumer's layer, which its groups use too.
    ///
    /// [`Context::layer`](LayerContext::layer) returns this layer.
    const LAYER: &'static str = DEFAULT_LAYER;

    /// Whether an event that does not fit any handler ends the consumer, as in Channels. Default false.
    ///
    /// Such an event has no handler, or other fields than its handler takes (rule 5). By default it is counted in
    /// [`Metrics::unhandled`](crate::Metrics::unhandled) and logged.
    const STRICT: bool = false;

    /// The groups that this consumer joins before `connect`. Default none.
    ///
    /// It leaves them, like all its groups, before `disconnect`.
    fn groups(&self) -> Vec<GroupName> {
        Vec::new()
    }

    /// Runs once, when a client asks to connect. The default accepts.
    ///
    /// If it returns without an accept, the client is answered 403 at once (rule 12).
    ///
    /// # Errors
    /// Before the accept, an error is answered 500 and logged. A [`DenyConnection`](crate::error::DenyConnection) is
    /// answered 403, and an [`AcceptConnection`](crate::error::AcceptConnection) accepts. After the accept, an error
    /// ends the connection as in [`receive`](Self::receive).
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()
    }

    /// Runs for each message of the client. The default ignores the message.
    ///
    /// # Errors
    /// An error ends the connection: with 1007 for an [`InputError`](crate::error::InputError), with 1000 for a
    /// [`StopConsumer`](crate::error::StopConsumer), with 1011 for any other error, which is logged.
    /// Errors of event handlers do the same.
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let _ = (message, ctx);
        Ok(())
    }

    /// Runs when the client comes back and names its places in groups that keep their events, and whenever it has
    /// missed events of such a group. The default does nothing.
    ///
    /// When the client comes back, it runs after [`connect`](Self::connect), and before the events that the client
    /// missed. What it sends goes before them. A client that reads so slowly that it misses events, and a log that
    /// begins anew, are told here too. [The page on history](crate::docs::history) says when which reason comes.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    async fn resume(&mut self, resumed: &Resumed, ctx: &mut Context) -> Result<()> {
        let _ = (resumed, ctx);
        Ok(())
    }

    /// Runs exactly once, however the connection ended. The default does nothing.
    ///
    /// By then nothing can be sent to the client any more, and the consumer has left its groups. The hook is cancelled
    /// after [`Limits::disconnect_grace`](crate::Limits::disconnect_grace).
    async fn disconnect(&mut self, reason: Disconnect, ctx: &mut Context) {
        let _ = (reason, ctx);
    }
}

/// Which events a consumer handles.
///
/// `#[event_handlers]` implements it, or `#[derive(NoEvents)]` for a consumer without events.
///
/// `X` is the context of the handlers: [`Context`] for a [`Consumer`], [`HttpContext`] for an [`HttpConsumer`],
/// [`WorkerContext`](crate::WorkerContext) for the jobs of a [`Worker`](crate::Worker).
///
/// The [guide](crate::docs::guide#events-and-handlers) has an example.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which events it handles",
    note = "write `#[event_handlers]` above the `impl {Self}` block with its handlers; each handler takes `ctx: &mut {X}`",
    note = "if `{Self}` has clients and handles no events, write `#[derive(NoEvents)]` above the type"
)]
#[expect(async_fn_in_trait, reason = "handlers run on one thread and need not be Send")]
pub trait EventHandlers<X: EventContext = Context>: Sized + 'static {
    /// The names of the events that are handled or relayed, for docs and tests.
    fn events() -> Vec<&'static str>;

    /// Calls the handler of the event. Returns [`Handled::Unknown`] if there is no handler.
    ///
    /// # Errors
    /// The handler's own, and [`EventError`](crate::EventError) if the fields do not fit the handler.
    async fn handle_event(&mut self, envelope: &Envelope, ctx: &mut X) -> Result<Handled>;

    /// What a client gets of an event that has a `#[relay]`; `None` for every other event.
    fn relay(envelope: &Envelope) -> Option<Result<Outgoing>>;
}

/// What event handlers are called with: [`Context`], [`HttpContext`] or [`WorkerContext`](crate::WorkerContext).
///
/// There are no other contexts.
///
/// [`EventHandlers`] has an example.
pub trait EventContext: sealed::Sealed + 'static {}

impl EventContext for Context {}
impl EventContext for HttpContext {}

/// A context with a client: [`Context`] or [`HttpContext`].
///
/// Relays and [`NoEvents`](derive@crate::NoEvents) are for these.
///
/// [`EventHandlers`] has an example.
#[diagnostic::on_unimplemented(
    message = "`#[relay]` and `#[derive(NoEvents)]` are not enough for a worker, because its jobs have no clients",
    label = "this consumer handles no jobs",
    note = "write a handler for each job: `async fn name(&mut self, job: &Job, ctx: &mut WorkerContext) -> Result<()>`"
)]
pub trait ClientContext: EventContext {
    /// Sends what a relay makes of an event that did not come from a group. If the relay fails, the client misses the
    /// event, as the members of a group do.
    ///
    /// # Errors
    /// As [`Context::send`].
    #[doc(hidden)]
    fn pass_on(&self, event: &str, relay: impl FnOnce() -> Option<Result<Outgoing>>) -> Result<()>;
}

impl ClientContext for Context {
    fn pass_on(&self, event: &str, relay: impl FnOnce() -> Option<Result<Outgoing>>) -> Result<()> {
        match Relayed::new(relay, event, self.connection().counters()) {
            Relayed::Message(message) => self.send(message),
            Relayed::Failed | Relayed::Handler => Ok(()),
        }
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Context {}
    impl Sealed for super::HttpContext {}
}

/// Whether an event found its handler.
///
/// [`EventHandlers`] has an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// No handler is declared for this name.
    Unknown,
    /// The handler ran.
    Yes,
}
