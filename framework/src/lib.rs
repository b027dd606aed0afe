//! Consumers, groups and channel layers for actix.
//!
//! Greenroom gives Rust what [Django Channels](https://channels.readthedocs.io) gives Django, and uses the words of
//! Channels. Each connection has a [consumer](Consumer). Consumers join [groups](ConnectionContext::group_add). When a
//! typed [event](derive@Event) is sent to a group, each member gets it: its handler does, or its client directly.
//!
//! This page leads through the library in the order in which you need it. Longer pages say more:
//!
//! - [events and handlers](docs::events): every form, what is refused, how values are written;
//! - [order](docs::order) and [limits](docs::limits): what is promised about delivery;
//! - [rules](docs::rules): the rules of Channels, and whether Greenroom keeps or mends each;
//! - [protocol](docs::protocol): how clients without a WebSocket talk to consumers;
//! - [browser's side](docs::browser): the client for pages;
//! - [design](docs::design): how the library works inside.
//!
#![doc = include_str!("../docs/guide.md")]
//!
//! # Modules
//!
//! | Module | What is in it |
//! |---|---|
//! | [`prelude`] | the names that nearly every consumer needs: `use greenroom::prelude::*;` |
//! | [`consumer`] | the hooks, their [`Context`], and the actor that hosts them; [HTTP consumers](HttpConsumer) |
//! | [`event`] | events, and the [`Envelope`] that carries one |
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
mod host;
mod json;
pub mod layers;
mod message;
mod metrics;
pub mod middleware;
mod names;
pub mod prelude;
pub mod routing;
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

pub use self::{
    consumer::{
        Accept, Body, ConnectionContext, Consumer, Context, EventHandlers, Handled, HttpConsumer,
        HttpContext, HttpHandle, JsonConsumer, LayerContext,
    },
    error::{Error, Result},
    event::{Envelope, Event, EventError, IntoEnvelope},
    groups::{Delivery, drain::Drain, pace::Pace},
    host::{Mount, Running, RunningHandle, Serve, Server, run, run_with},
    layers::{ChannelLayer, Layer, LayerConfig, LayerError, MemoryLayer},
    message::{IntoOutgoing, Message, Outgoing},
    metrics::Metrics,
    names::{ChannelName, GroupName, NameError},
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
/// The crate `cookie`: its cookies are what [`Scope::set_cookie`] takes.
pub use cookie;
/// The functions that the macros' code calls. They may change in any release.
#[doc(hidden)]
pub use event::handler as __private;
#[doc(inline)]
pub use greenroom_macros::{Event, EventHandlers, NoEvents, event_handlers, on, relay};

/// Compiles the code in the README, so that it stays correct.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}
