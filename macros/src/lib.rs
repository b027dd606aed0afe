//! The macros of greenroom. Use them from the crate `greenroom`, which re-exports them.
//!
//! Each macro parses the words into a model, checks the model, and generates code from it. The macro collects all
//! mistakes. Each error points at the wrong word, and says what to write instead. After a mistake the macro generates
//! an empty implementation, so that one mistake gives one error.

mod delegate;
mod errors;
mod event;
mod handlers;
mod misplaced;
mod names;
mod no_events;
mod root;
mod types;

use proc_macro::TokenStream;

/// Makes a type an event, which travels as `{"type": "xx.oo", …}`.
///
/// The type must also derive `Clone` and serde's `Serialize` and `Deserialize`. The crate that uses the derive needs
/// `serde` as a dependency.
///
/// ```
/// use greenroom::Event;
/// use serde::{Deserialize, Serialize};
///
/// /// `{"type": "chat.message", "text": …}`
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct ChatMessage {
///     text: String,
/// }
///
/// /// Each variant has a name.
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// enum Room {
///     /// `{"type": "room.joined", "user": …}`
///     #[event("room.joined")]
///     Joined { user: String },
///     /// `{"type": "closed"}`
///     Closed,
/// }
///
/// assert_eq!(ChatMessage::NAMES, ["chat.message"]);
/// assert_eq!(Room::NAMES, ["room.joined", "closed"]);
/// ```
///
/// # Names
/// `#[event("xx.oo")]` on a struct or a variant sets its name. Without it, the name is the Rust name of the struct or
/// the variant in dotted lower case: `ChatMessage` → `chat.message`. A word starts at a capital after a small letter
/// or a digit, and at the last of several capitals if a small letter follows: `HTTPError` → `http.error`,
/// `Room2Left` → `room2.left`. Names consist of ASCII letters, digits, `_`, `-` and `.`, and do not start with `_` or
/// `.`.
///
/// # Events that are not kept
/// `#[event(transient)]` on a struct, on an enum or on a variant leaves the event out of a group's history. It is
/// delivered as ever; whoever is away misses it, and nobody counts that as a loss. It is for what is soon out of date:
///
/// ```
/// # use greenroom::Event;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// #[event(transient)]
/// struct Typing {
///     user: String,
/// }
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// enum Board {
///     Stroke { points: Vec<(f32, f32)> },
///     #[event("board.pointer", transient)]
///     Pointer { at: (f32, f32) },
/// }
///
/// assert!(Typing { user: "Ann".into() }.is_transient());
/// assert!(Board::Pointer { at: (0.5, 0.5) }.is_transient());
/// assert!(!Board::Stroke { points: Vec::new() }.is_transient());
/// ```
///
/// # Shapes
/// A struct has named fields or no fields. A variant has named fields, no fields, or one value: such a struct.
/// serde's attributes keep their meaning. The derive refuses those that change the map around the fields, or leave out
/// fields and variants (`tag`, `content`, `untagged`, `transparent`, `from`, `into`, `remote`, `skip`, `other`, …). It
/// also refuses generic parameters, and a field that is called `type` or `__asgi…` on the wire.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    event::derive(input.into()).into()
}

/// Says that a consumer handles no events: implements `EventHandlers` without any.
///
/// ```
/// use greenroom::{Consumer, NoEvents};
///
/// #[derive(NoEvents)]
/// struct Echo;
///
/// impl Consumer for Echo {}
/// ```
#[proc_macro_derive(NoEvents, attributes(event))]
pub fn derive_no_events(input: TokenStream) -> TokenStream {
    no_events::derive(input.into()).into()
}

/// Passes events on to the handlers of fields, so that consumers can share handlers.
///
/// Each field with `#[handlers]` is asked in order, until one handles the event. So a struct can have several sets of
/// handlers, each with its own state, and a wrapper can have the handlers of any consumer in it. It works with every
/// context.
///
/// ```
/// use greenroom::prelude::*;
/// use greenroom::EventHandlers;
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct Kicked {}
///
/// /// Handlers that several consumers share.
/// struct Moderated;
///
/// #[event_handlers]
/// impl Moderated {
///     async fn kicked(&mut self, _event: &Kicked, ctx: &mut Context) -> Result<()> {
///         ctx.close();
///         Ok(())
///     }
/// }
///
/// /// A wrapper of any consumer.
/// #[derive(EventHandlers)]
/// struct WithModeration<C> {
///     #[handlers]
///     moderated: Moderated,
///     #[handlers]
///     inner: C,
/// }
///
/// impl<C: Consumer> Consumer for WithModeration<C> {
///     async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
///         self.inner.connect(ctx).await
///     }
/// }
/// ```
#[proc_macro_derive(EventHandlers, attributes(event, handlers))]
pub fn derive_event_handlers(input: TokenStream) -> TokenStream {
    delegate::derive(input.into()).into()
}

/// Makes each method of an `impl` block the handler of the event that it takes.
///
/// ```
/// use greenroom::{Consumer, Context, Event, Outgoing, Result, event_handlers};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// struct ChatMessage {
///     text: String,
/// }
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// enum RoomEvent {
///     Joined { user: String },
///     Closed,
/// }
///
/// #[derive(Clone, Serialize, Deserialize, Event)]
/// #[event("news")]
/// struct Headline {
///     text: String,
/// }
///
/// struct Chat;
///
/// impl Consumer for Chat {}
///
/// #[event_handlers]
/// impl Chat {
///     /// Runs for each "chat.message".
///     async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()> {
///         ctx.send(event.text.as_str())?;
///         Ok(())
///     }
///
///     /// Runs for each "joined" and each "closed".
///     async fn room_event(&mut self, event: RoomEvent, ctx: &mut Context) -> Result<()> {
///         match event {
///             RoomEvent::Joined { user } => ctx.send(user)?,
///             RoomEvent::Closed => {}
///         }
///         Ok(())
///     }
///
///     /// Runs once in a process for each "news": all clients get the same bytes.
///     #[relay]
///     #[on("news")]
///     fn headline(event: &Headline) -> Outgoing {
///         Outgoing::text(event.text.clone())
///     }
/// }
/// ```
///
/// # Handlers
/// `async fn name(&mut self, event: &E, ctx: &mut Context) -> Result<()>`. A handler may also take the event as
/// `Arc<E>`, or as `E`, which copies the event if other receivers share it. The context is an `HttpContext` in an
/// `HttpConsumer`, and a `WorkerContext` for the jobs of a `Worker`. All handlers of a block take the same context,
/// and write its type by that name.
///
/// # Relays
/// `#[relay] fn name(event: &E) -> Outgoing`, or `-> Result<Outgoing>`: for an event that is only passed on. A relay
/// has no `self`, because it runs once for all clients of the process, and wakes no consumer. A consumer of a `Worker`
/// cannot have relays.
///
/// # Which event
/// A method has the name of its event, with `_` for each `.` and `-`: `xx_oo` handles `xx.oo`. If a method takes an
/// enum of several events, and has the name of the enum (`RoomEvent` → `room_event`), it handles all of them.
/// `#[on("xx.oo")]` above a method names its event instead of the method's name, and chooses one event of an enum. It
/// is a compile error if a method's name does not fit its event, or if two methods handle one event.
///
/// # Limits
/// Every method in the block is a handler, so other methods belong in another block. A type has one such block, because it
/// implements a trait; [`EventHandlers`](derive@EventHandlers) joins several. The block may be generic, but its events
/// cannot use its parameters.
///
/// # Arguments
/// `#[event_handlers(all(RoomEvent))]`: it is a compile error if an event of `RoomEvent` has no handler.
/// `#[event_handlers(crate = "my_server::greenroom")]`: the path of the library, if it is not the dependency `greenroom`.
/// The derives take it as `#[event(crate = "…")]` above the type.
#[proc_macro_attribute]
pub fn event_handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handlers::expand(arguments.into(), item.into()).into()
}

/// Names the event of a method in an [`event_handlers`] block: `#[on("xx.oo")]`.
///
/// Anywhere else it is an error. See [`event_handlers`].
#[proc_macro_attribute]
pub fn on(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced::misplaced("on(\"chat.message\")", item.into()).into()
}

/// Makes a method in an [`event_handlers`] block a relay, which passes an event on to the clients: `#[relay]`.
///
/// Anywhere else it is an error. See [`event_handlers`].
#[proc_macro_attribute]
pub fn relay(_: TokenStream, item: TokenStream) -> TokenStream {
    misplaced::misplaced("relay", item.into()).into()
}
