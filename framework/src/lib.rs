//! Consumers, groups and channel layers for actix.
//!
//! Greenroom gives Rust what [Django Channels](https://channels.readthedocs.io) gives Django, and uses the words of
//! Channels. Each connection has a [consumer](Consumer). Consumers join [groups](ConnectionContext::group_add). When a
//! typed [event](derive@Event) is sent to a group, each member gets it: its handler does, or its client directly.
//!
//! # A server
//!
//! Greenroom is not on crates.io yet: name a checkout by its path. In `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! actix-web = "4"
//! greenroom = { path = "../greenroom/framework" }
//! serde = { version = "1", features = ["derive"] }
//! tracing-subscriber = "0.3"
//! ```
//!
//! In `src/main.rs`, a chat: everyone who connects to `ws://127.0.0.1:8000/room/lobby/` gets what any member of the
//! room `lobby` sends.
//!
//! ```no_run
//! use greenroom::{Server, prelude::*};
//!
//! /// On the wire: `{"type": "chat.message", "user": …, "text": …}`.
//! #[derive(Clone, Serialize, Deserialize, Event)]
//! struct ChatMessage { user: String, text: String }
//!
//! /// The code for one connection.
//! struct Chat { room: GroupName }
//!
//! impl Consumer for Chat {
//!     fn groups(&self) -> Vec<GroupName> { vec![self.room.clone()] }
//!
//!     async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
//!         ctx.group_send(&self.room, message.json::<ChatMessage>()?).await
//!     }
//! }
//!
//! #[event_handlers]
//! impl Chat {
//!     async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()> {
//!         ctx.send_event(event)
//!     }
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<()> {
//!     tracing_subscriber::fmt::init();
//!     let chat = |scope: &Scope| Ok(Chat { room: scope.param("room")? });
//!     let routes = UrlRouter::new().route("/room/{room:[A-Za-z0-9_-]{1,80}}/", chat);
//!     Ok(Server::new(routes)?.bind("127.0.0.1:8000")?.run().await?)
//! }
//! ```
//!
//! # Where to read on
//!
//! | Page | What is on it |
//! |---|---|
//! | [tutorial](docs::tutorial) | a chat in four parts: from an empty crate to two processes behind nginx, with tests |
//! | [guide](docs::guide) | the whole library, in the order in which you need it |
//! | [cookbook](docs::cookbook) | recipes: a room with state, tokens, a database, a file, a dev server |
//! | [troubleshooting](docs::troubleshooting) and [logs](docs::logs) | what to look at, by what you see; what is logged, and how to read a close code |
//! | [moving from other libraries](docs::moving_from_others) | what takes the place of what in actix-web-actors, actix-ws, axum, socketioxide and Socket.IO |
//! | [events and handlers](docs::events) | every form, what is refused, how values are written |
//! | [order](docs::order) and [limits](docs::limits) | what is promised about delivery, and what is bounded |
//! | [history](docs::history) | how nothing is missed across a lost connection or a deploy, and how the rest is told |
//! | [browser's side](docs::browser) | the client for pages |
//! | [protocol](docs::protocol) | how clients without a WebSocket talk to consumers |
//! | [all pages](docs) | Redis, NATS, moving from Django Channels, performance, design, and more |
//!
//! # Modules
//!
//! | Module | What is in it |
//! |---|---|
//! | [`prelude`] | the names that nearly every consumer needs: `use greenroom::prelude::*;` |
//! | [`consumer`] | the hooks, their [`Context`], and the actor that hosts them; [HTTP consumers](HttpConsumer) |
//! | [`event`] | events, and the [`Envelope`] that carries one |
//! | [`history`] | the events that groups keep, and how a member that was away gets what it missed |
//! | [`rooms`] | state that the members of a group share, with a tick |
//! | [`layers`] | the [`Layer`] that programs hold, [`MemoryLayer`], and the trait for backends |
//! | [`routing`] | patterns, routers, and paths made from the names of routes |
//! | [`scope`] | what the server knows about a connection: path, headers, cookies, peer, user |
//! | [`middleware`] | origin checks, sessions, users, proxies, and middleware of your own |
//! | [`worker`] | background work: consumers on named channels |
//! | [`close`] | the table of close codes, and how a connection ended |
//! | [`error`] | the errors that hooks return |
//! | `testing` | clients and servers for tests (feature `testing`) |
//!
//! For readers of the source, this is the way of a message: `host` takes the handshake, `transport` reads frames,
//! `consumer` runs the hooks, `layers` takes an event, and `groups` brings the event to the members.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `cli` | no | the program `greenroom`, which sends events to groups and prints what is sent; all layers |
//! | `django` | no | `django` in [`middleware`]: sessions and users of a Django project, from signed cookies or from a store that you write |
//! | `django-postgres` | no | `django`, with Django's tables in PostgreSQL |
//! | `django-sqlite` | no | `django`, with Django's tables in SQLite; it needs a C compiler |
//! | `nats` | no | `nats` in [`layers`]: groups shared with other processes, over NATS |
//! | `redis` | no | `redis` in [`layers`]: groups shared with other processes and with Django, over Redis |
//! | `rustls` | no | TLS for `Server`, and TLS to Redis and PostgreSQL |
//! | `testing` | no | the module `testing`; the feature switches on `test-util` of tokio |

#![cfg_attr(docsrs, feature(doc_cfg))]

// The macros write paths that start with `::greenroom`. This name makes them work in the crate's own tests.
#[allow(unused_extern_crates, reason = "only what the macros write uses it")]
extern crate self as greenroom;

mod causes;
pub mod close;
pub mod consumer;
#[cfg(any(doc, doctest))]
pub mod docs;
pub mod error;
pub mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod guard;
pub mod history;
mod host;
mod json;
pub mod layers;
mod message;
mod metrics;
pub mod middleware;
mod names;
mod notices;
pub mod prelude;
pub mod rooms;
pub mod routing;
mod runtime;
pub mod scope;
mod shown;
mod sync;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod time;
mod transport;
mod wire;
pub mod worker;

#[doc(inline)]
pub use self::{
    consumer::{
        Accept, Answer, Body, ConnectionContext, Consumer, Context, EventHandlers, Handle, Handled,
        HttpConsumer, HttpContext, HttpHandle, JsonConsumer, LayerContext, Request, Task,
    },
    error::{Error, RequestError, Result},
    event::{Envelope, Event, EventError, IntoEnvelope},
    groups::{Delivery, drain::Drain, pace::Pace},
    host::{Mount, Running, RunningHandle, Serve, Server, run, run_with},
    layers::{ChannelLayer, Layer, LayerConfig, LayerError, MemoryLayer},
    message::{IntoOutgoing, Message, Outgoing},
    metrics::Metrics,
    names::{ChannelName, GroupName, NameError},
    rooms::{Room, RoomEnd, RoomError, RoomEvents, RoomState, Rooms},
    routing::{ProtocolTypeRouter, UrlRouter},
    scope::Scope,
    transport::fallback::settings::Fallback,
    wire::{
        Transport,
        limits::{Flush, Limits, Overflow},
        websocket::deflate::Deflate,
    },
    worker::{ChannelNameRouter, Worker, WorkerContext},
};
/// The attribute that an implementation of [`ChannelLayer`] needs. It is that of the crate `async-trait`.
pub use async_trait::async_trait;
/// The bytes of a binary [`Message`], and of what is sent. The type is that of the crate `bytes`.
pub use bytes::Bytes;
/// The text of a [`Message`], and of what is sent. The type is that of the crate `bytestring`.
pub use bytestring::ByteString;
/// The crate `cookie`: its cookies are what [`Scope::set_cookie`] takes.
pub use cookie;
/// The functions that the macros' code calls. They may change in any release.
#[doc(hidden)]
pub use event::handler as __private;
#[doc(inline)]
pub use greenroom_macros::{Event, EventHandlers, NoEvents, event_handlers, on, relay};

#[doc(hidden)]
pub use names::checked_group as __checked_group;
