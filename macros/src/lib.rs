//! The derives and the attribute of greenroom. Use them from there.
//!
//! Each macro goes the same way: parse the words into a model of its own, check that model, generate from
//! it. Every mistake is collected, reported at the word that is wrong, and says what to write instead; the
//! implementation is then generated empty, so that one mistake gives one error.

mod errors;
mod event;
mod handlers;
mod names;
mod no_events;

use proc_macro::TokenStream;

/// Makes a type an event, which travels as `{"type": "xx.oo", …}`.
///
/// The type also derives serde's `Serialize` and `Deserialize`, and `Clone`; `serde` is a dependency of the
/// crate that uses it.
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
/// /// One name a variant.
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
/// A name is `#[event("xx.oo")]` on the struct or the variant, or else the Rust name of the struct or the
/// variant in dotted lower case: `ChatMessage` → `chat.message`. A word starts at a capital behind a small
/// letter or a digit, and at the last of several capitals where a small letter follows: `HTTPError` →
/// `http.error`, `Room2Left` → `room2.left`. Names consist of ASCII letters, digits, `_`, `-` and `.`, and
/// do not start with `_` or `.`.
///
/// # Shapes
/// A struct has named fields or none; so has a variant, or it holds one value that is such a struct.
/// serde's attributes keep their meaning, except for those that change what the map around the fields is,
/// or which fields and variants there are (`tag`, `content`, `untagged`, `transparent`, `from`, `into`,
/// `remote`, `skip`, `other`, …): they are refused. So are generic parameters, and a field that is called
/// `type` or `__asgi…` on the wire.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    event::derive(input.into()).into()
}

/// Says that a consumer handles no events: implements `EventHandlers` with none.
///
/// ```
/// use greenroom::{Consumer, NoEvents};
///
/// #[derive(NoEvents)]
/// struct Echo;
///
/// impl Consumer for Echo {}
/// ```
#[proc_macro_derive(NoEvents)]
pub fn derive_no_events(input: TokenStream) -> TokenStream {
    no_events::derive(input.into()).into()
}

/// Makes the methods of an `impl` block handlers of the events that they take.
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
///     /// Runs once a process for each "news"; every client gets the same bytes.
///     #[relay]
///     #[on("news")]
///     fn headline(event: &Headline) -> Outgoing {
///         Outgoing::text(event.text.clone())
///     }
/// }
/// ```
///
/// # Handlers
/// `async fn name(&mut self, event: &E, ctx: &mut Context) -> Result<()>`. The event may also be taken as
/// `E`, which copies it where other receivers share it, or as `Arc<E>`. In an `HttpConsumer` the context is an
/// `HttpContext`, for the jobs of a `Worker` a `WorkerContext`: the same in the whole block, and by that name.
///
/// # Relays
/// `#[relay] fn name(event: &E) -> Outgoing`, or `-> Result<Outgoing>`: for what only passes an event on. It has no
/// `self`, because it runs once for all clients of the process, and no consumer is woken for it. A worker has none.
///
/// # Which event
/// A method is called as its event, with `_` for each `.` and `-`: `xx_oo` handles `xx.oo`. A method that
/// takes an enum of several events and is called as the enum (`RoomEvent` → `room_event`) handles all of
/// them. `#[on("xx.oo")]` says it in place of the method's name, and picks one event of an enum. A method
/// whose name does not fit its event does not compile, nor do two for one event.
///
/// # Limits
/// Every method in the block is a handler: other methods stand in a block of their own. A type has one such
/// block. The block may be generic, but its events may not use its parameters.
#[proc_macro_attribute]
pub fn event_handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handlers::expand(arguments.into(), item.into()).into()
}
